//! Several nodes: fronts and workers over a JetStream of three servers and PostgreSQL, whatever is killed.

#[path = "../e2e/archive.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod archive;
mod chaos;
mod erase;
mod faults;
#[path = "../e2e/frames.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod frames;
mod fresh;
#[path = "../e2e/ledger.rs"]
mod ledger;
#[path = "../../../pipelines/bus/tests/it/nats.rs"]
#[allow(dead_code, reason = "shared with the suite of the bus")]
mod nats;
mod pause;
#[path = "../e2e/process.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod process;
#[path = "../e2e/python.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod python;
mod revoke;
mod rolling;
#[path = "../e2e/rows.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod rows;
#[path = "../e2e/sink.rs"]
mod sink;
#[path = "../e2e/stand.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod stand;
mod tier;
#[path = "../e2e/tiered.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod tiered;
mod topic;
mod trim;
mod upgrade;
#[path = "../e2e/ward.rs"]
#[allow(dead_code, reason = "shared with the suite of one machine")]
mod ward;
mod webhooks;
mod wire;
