//! The archive against a real journal, a real database and real files.

mod crash;
mod foreign;
mod intake;
mod measure;
mod rig;
mod secrecy;
