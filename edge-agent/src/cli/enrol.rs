//! `wardline-edge enrol`: its flags and what it says.

use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use wardline_edge::{EdgeError, EnrolOptions, Enrolled, Proof, device_from_serial_number};
use wardline_proto::DeviceId;
use wardline_proto::refusal::Refusal;

const CLAIM_VARIABLE: &str = "WARDLINE_EDGE_CLAIM";

#[derive(Debug, Args)]
pub(crate) struct EnrolArgs {
    /// The gateway's HTTPS listener, https://HOST:PORT; the port is 9443 when left out.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The claim token, wl1.SECRET.PIN; or in the environment, WARDLINE_EDGE_CLAIM, where no list of processes shows it.
    #[arg(long, value_name = "TOKEN", conflicts_with = "factory")]
    claim: Option<String>,
    /// Folder with the maker's cert.pem and key.pem, instead of a claim; its ca.pem says whom to trust.
    #[arg(long, value_name = "DIR")]
    factory: Option<PathBuf>,
    /// With --factory: the last part of a claim of the gateway, instead of ca.pem.
    #[arg(long, value_name = "PIN", requires = "factory")]
    pin: Option<String>,
    /// The device to become, 1 to 64 of a-z 0-9 . _ - [default: the serial number, lower-cased].
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// The hardware's serial number.
    #[arg(long, value_name = "SN")]
    serial_number: Option<String>,
    /// Folder for the identity; made when it is not there.
    #[arg(long, value_name = "DIR")]
    certs: PathBuf,
}

impl EnrolArgs {
    /// Checks everything that can be checked without asking anybody.
    pub(crate) fn options(self) -> Result<EnrolOptions, EdgeError> {
        let proof = match (self.factory, self.claim.or_else(|| std::env::var(CLAIM_VARIABLE).ok())) {
            (Some(dir), _) => Proof::Factory { dir, pin: self.pin.map(|pin| pin.parse()).transpose()? },
            (None, Some(claim)) => Proof::Claim(claim.parse()?),
            (None, None) => {
                return Err(EdgeError::new(Refusal::EdgeClaim, "neither --claim nor --factory is given"));
            }
        };
        let device = match (self.device, &self.serial_number) {
            (Some(device), _) => DeviceId::new(&device)
                .map_err(|error| EdgeError::new(Refusal::EdgeDevice, format!("{device:?}: {error}")))?,
            (None, Some(serial_number)) => device_from_serial_number(serial_number)?,
            (None, None) => {
                let problem = "neither --device nor --serial-number is given";
                return Err(EdgeError::new(Refusal::EdgeDevice, problem));
            }
        };
        let serial_number = self.serial_number;
        Ok(EnrolOptions { url: self.url, proof, device, serial_number, certs_dir: self.certs })
    }
}

/// Enrols and says what to do next.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(options: EnrolOptions) -> anyhow::Result<()> {
    let enrolled = wardline_edge::enrol(&options).await?;
    let certs = options.certs_dir.to_str().context("the folder's name is not text")?;
    print!("{}", told(&enrolled, certs));
    Ok(())
}

fn told(enrolled: &Enrolled, certs: &str) -> String {
    let done = if enrolled.is_new { "enrolled" } else { "already enrolled" };
    let fronts: Vec<_> = enrolled.fronts.iter().map(ToString::to_string).collect();
    format!(
        "{done} as {device}\nfronts: {fronts}\nrun it: wardline-edge run --certs {certs} --spool DIR\n",
        device = enrolled.device,
        fronts = fronts.join(", "),
    )
}
