//! Encryption of files with key-tools material that parquet-java and PyArrow read, keys from our keyring.
//!
//! Every leaf column is listed: a column without a key would be written in plaintext. Data keys are wrapped under a
//! key of this process, which a master key of the tenant wraps; the clear part of a file names master keys by their
//! random ids only.

use crate::error::ArchiveError;
use crate::rows::{ColumnKey, key_of, schema};
use crate::table::Table;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::arrow::ArrowSchemaConverter;
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;
use parquet_key_management::crypto_factory::{
    CryptoFactory, DecryptionConfiguration, EncryptionConfiguration,
};
use parquet_key_management::errors::Error as KmsError;
use parquet_key_management::key_unwrapper::KeyUnwrapper;
use parquet_key_management::kms::{KmsClient, KmsClientRef, KmsConnectionConfig, KmsConnectionInfo};
use std::fmt;
use std::sync::Arc;
use wardline_journal::{KeyError, KeyId, KeyProvider, KeyPurpose, Keyring};
use wardline_proto::TenantId;

/// The keyring as the client that key tools ask. A wrapped key is text: base64 of what the keyring made.
struct KeyringClient(Arc<Keyring>);

fn kms(error: KeyError) -> KmsError {
    KmsError::External(Box::new(error))
}

impl KmsClient for KeyringClient {
    fn wrap_key(&self, key: &[u8], master: &str) -> Result<String, KmsError> {
        let master = KeyId::new(master).map_err(kms)?;
        self.0.wrap(&master, key).map(|wrapped| STANDARD.encode(wrapped)).map_err(kms)
    }

    fn unwrap_key(&self, wrapped: &str, master: &str) -> Result<Vec<u8>, KmsError> {
        let wrapped = STANDARD.decode(wrapped).map_err(|_base64| kms(KeyError::Malformed))?;
        let master = KeyId::new(master).map_err(kms)?;
        self.0.unwrap_key(&master, &wrapped).map(|key| key.to_vec()).map_err(kms)
    }
}

/// The bridge between the key tools and this version of parquet.
struct Retriever(KeyUnwrapper);

impl KeyRetriever for Retriever {
    fn retrieve_key(&self, metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        self.0.unwrap_key(metadata).map_err(|error| match error {
            KmsError::External(inner) => ParquetError::External(inner),
            other => ParquetError::External(Box::new(other)),
        })
    }
}

/// Makes encryption and decryption properties of files. Unwrapped keys live for ten minutes.
pub struct ArchiveKeys {
    keyring: Arc<Keyring>,
    factory: CryptoFactory,
    connection: Arc<KmsConnectionConfig>,
}

impl fmt::Debug for ArchiveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveKeys")
    }
}

impl ArchiveKeys {
    /// Takes keys from `keyring`.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        let client: KmsClientRef = Arc::new(KeyringClient(keyring.clone()));
        let factory = CryptoFactory::new(move |_: &KmsConnectionInfo| Ok(client.clone()));
        Self { keyring, factory, connection: Arc::new(KmsConnectionConfig::default()) }
    }

    /// Makes the properties of one new file of `tenant`, none for the installation's own rows.
    pub(crate) fn encryption(
        &self,
        columns: &SchemaDescriptor,
        tenant: Option<&TenantId>,
    ) -> Result<Arc<FileEncryptionProperties>, ArchiveError> {
        let leaves = columns.columns().iter().map(|column| column.path().string());
        let (identifiers, measurements): (Vec<_>, Vec<_>) =
            leaves.partition(|leaf| key_of(leaf) == ColumnKey::Identifiers);
        let master = |purpose| Ok::<_, KeyError>(self.keyring.ensure(purpose, tenant)?.as_str().to_owned());
        let config = EncryptionConfiguration::builder(master(KeyPurpose::Footer)?)
            .add_column_key(master(KeyPurpose::Identifiers)?, identifiers)
            .add_column_key(master(KeyPurpose::Measurements)?, measurements)
            .build()
            .map_err(key_error)?;
        let keys = self.factory.file_encryption_keys(self.connection.clone(), &config).map_err(key_error)?;
        let footer = keys.footer_key();
        let builder = FileEncryptionProperties::builder(footer.key().to_vec())
            .with_footer_key_metadata(footer.metadata().to_vec());
        let builder = keys.column_keys().fold(builder, |builder, (column, key)| {
            builder.with_column_key_and_metadata(column, key.key().to_vec(), key.metadata().to_vec())
        });
        Ok(builder.build()?)
    }

    /// Returns the keyring that they are taken from.
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        self.keyring.clone()
    }

    /// Asks whether files of `tenant` can be written. Blocks.
    pub(crate) fn probe(&self, tenant: Option<&TenantId>) -> Result<(), ArchiveError> {
        let columns = ArrowSchemaConverter::new().convert(&schema(Table::Numerics))?;
        self.encryption(&columns, tenant).map(drop)
    }

    /// Makes the properties that read one file. Not to be shared between files.
    pub fn decryption(&self) -> Result<Arc<FileDecryptionProperties>, ArchiveError> {
        let unwrapper =
            self.factory.key_unwrapper(self.connection.clone(), DecryptionConfiguration::default());
        let retriever = Arc::new(Retriever(unwrapper.map_err(key_error)?));
        Ok(FileDecryptionProperties::with_key_retriever(retriever).build()?)
    }
}

/// Finds the key service's word in what the reader of a file says.
pub(crate) fn of_parquet(error: ParquetError) -> ArchiveError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<KeyError>() {
            Ok(key) if matches!(*key, KeyError::Away(_) | KeyError::Refused(_)) => ArchiveError::Key(*key),
            Ok(key) => ParquetError::External(key).into(),
            Err(inner) => ParquetError::External(inner).into(),
        },
        other => other.into(),
    }
}

fn key_error(error: KmsError) -> ArchiveError {
    match error {
        KmsError::External(inner) => match inner.downcast::<KeyError>() {
            Ok(key) => ArchiveError::Key(*key),
            Err(inner) => ArchiveError::Parquet(ParquetError::External(inner)),
        },
        other => ArchiveError::Parquet(ParquetError::General(other.to_string())),
    }
}
