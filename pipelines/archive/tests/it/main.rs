//! The archive against a real journal, a real database and real files.

mod crash;
mod intake;
mod rig;
mod secrecy;
