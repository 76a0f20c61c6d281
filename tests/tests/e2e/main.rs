//! The whole path, with real processes, real TLS, real disks and other people's software.

mod frames;
mod process;
mod python;
mod records;
