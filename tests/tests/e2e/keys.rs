//! A tenant's keys at a real key service: the whole path, its outages, other people's readers, and no secret anywhere.

use crate::archive::block_on;
use crate::frames::{Publisher, frame, heart_rate, now_us};
use crate::process::{eventually, run, run_to_fail};
use crate::python;
use crate::stand::{Stand, TENANT, files_below};
use anyhow::ensure;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use wardline_archive::testing::TestBao;

const WAIT: Duration = Duration::from_secs(60);
/// Lives longer than the test; it is renewed nonetheless.
const TOKEN_S: u32 = 600;
const EPOCH: u64 = 1_790_000_000_000_000;

fn told<T>(result: Result<T, String>) -> anyhow::Result<T> {
    result.map_err(anyhow::Error::msg)
}

/// Publishes one reading in each frame, acknowledged.
fn publish(stand: &Stand, certs: &Path, seqs: std::ops::RangeInclusive<u64>) -> anyhow::Result<()> {
    block_on(async {
        let mut device = Publisher::connect(stand.mqtt, TENANT, "mon-1", certs).await?;
        for seq in seqs {
            device.publish(&frame(EPOCH, seq, &heart_rate(now_us(), &[61.0]))).await?;
        }
        Ok(())
    })
}

fn archived(stand: &Stand, rows: u64) -> anyhow::Result<()> {
    eventually("the rows are archived", WAIT, || Ok((stand.rows("numerics")? == rows).then_some(())))
}

fn by_pyarrow(stand: &Stand) -> anyhow::Result<Command> {
    let mut script = python::script("docs/examples/read_archive.py", None)?;
    script.args(["--table", "numerics", "--newest", "1", "--data-dir"]).arg(stand.data());
    Ok(script)
}

/// Runs `wardline keys` on the data folder as loudly as it can; what it prints is kept for the search.
fn keys(stand: &Stand, words: &[&str], outputs: &mut Vec<String>) -> anyhow::Result<String> {
    let mut command = stand.on_data(&[&["keys"], words].concat())?;
    let told = run(command.env("WARDLINE_LOG", "trace"))?;
    outputs.push(told.clone());
    Ok(told)
}

#[test]
fn a_key_service_from_the_first_file_to_the_shredding_and_its_token_is_nowhere() -> anyhow::Result<()> {
    let bao = block_on(async { told(TestBao::start().await) })?;
    let secrets = tempfile::tempdir()?;
    let token = block_on(async { told(bao.token(TOKEN_S).await) })?;
    let settings = told(bao.settings(secrets.path(), &token))?;
    let mut stand = Stand::with(&format!("[keys.transit]\n{settings}"))?;
    stand.level = "trace";
    let (certs, mut outputs) = (stand.device("mon-1")?, Vec::new());
    stand.start()?;
    publish(&stand, &certs, 1..=5)?;
    archived(&stand, 5)?;
    ensure!(keys(&stand, &["list"], &mut outputs)?.matches("active").count() > 3);
    stand.stop()?;
    waits_for_the_service(&mut stand, &certs, &bao)?;
    let renewed = keys(&stand, &["rotate", "--tenant", TENANT], &mut outputs)?;
    ensure!(renewed.matches("k-").count() == 3, "{renewed}");
    publish(&stand, &certs, 11..=15)?;
    archived(&stand, 15)?;
    let read = run(&mut by_pyarrow(&stand)?)?;
    ensure!(read.starts_with("numerics: 15 rows"), "PyArrow: {read}");
    stand.stop()?;
    stand.verify()?;
    a_refusal_is_clear(&stand, secrets.path(), &token, &mut outputs)?;
    let trail = stand.trail()?;
    ensure!(trail.iter().any(|event| event.to_string().contains("keys_rotated")), "rotation is audited");
    outputs.extend(trail.iter().map(ToString::to_string));
    shred(&stand, &mut outputs)?;
    let unread = run_to_fail(&mut by_pyarrow(&stand)?)?;
    ensure!(unread.contains("cannot read numerics"), "{unread}");
    outputs.push(unread);
    let searched = no_secret(&stand, &token, &outputs)?;
    println!(
        "key service: 15 rows through an outage and a rotation; {searched} files and outputs without the token"
    );
    Ok(())
}

/// A gateway that starts while the service is sealed acknowledges, says why it does not archive, and catches up.
fn waits_for_the_service(stand: &mut Stand, certs: &Path, bao: &TestBao) -> anyhow::Result<()> {
    block_on(async { told(bao.seal().await) })?;
    stand.start()?;
    publish(stand, certs, 6..=10)?;
    eventually("the log has the code", WAIT, || {
        let log = stand.log()?;
        let waits =
            |line: &str| line.contains("WL-KEY-001") && line.contains("the archive waits for its keys");
        Ok(log.lines().any(waits).then_some(()))
    })?;
    let sealed = run_to_fail(&mut stand.on_data(&["archive", "verify"])?)?;
    ensure!(sealed.contains("WL-KEY-001") && !sealed.contains("unreadable"), "no file is blamed: {sealed}");
    block_on(async { told(bao.unseal().await) })?;
    archived(stand, 10)
}

/// A token that the service does not know.
fn a_refusal_is_clear(
    stand: &Stand,
    secrets: &Path,
    token: &str,
    outputs: &mut Vec<String>,
) -> anyhow::Result<()> {
    let file = secrets.join("bao-token");
    std::fs::write(&file, format!("{token}x"))?;
    let mut rotate = stand.on_data(&["keys", "rotate", "--tenant", TENANT])?;
    let refused = run_to_fail(rotate.env("WARDLINE_LOG", "trace"))?;
    ensure!(refused.contains("WL-KEY-002"), "{refused}");
    outputs.push(refused);
    std::fs::write(&file, token)?;
    Ok(())
}

fn shred(stand: &Stand, outputs: &mut Vec<String>) -> anyhow::Result<()> {
    let mut command = stand.on_data(&["keys", "shred", "--tenant", TENANT, "--yes"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut typed) = child.stdin.take() {
        std::io::Write::write_all(&mut typed, format!("{TENANT}\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && told.contains("6 keys of st-mary are destroyed"), "{told}");
    outputs.push(told);
    let verified = run(&mut stand.on_data(&["archive", "verify"])?)?;
    ensure!(verified.contains("shredded: ") && verified.trim_end().ends_with("clean"), "{verified}");
    // The trail goes on: what was sealed under the keys keeps its places, and what is the installation's is read.
    let listed = run(&mut stand.on_data(&["audit", "list"])?)?;
    let sealed = format!(" events of {TENANT}, until ");
    ensure!(listed.contains(&sealed) && listed.contains("sealed under a destroyed key"), "{listed}");
    ensure!(listed.contains("serve_started"), "{listed}");
    let proven = run(&mut stand.on_data(&["audit", "verify"])?)?;
    ensure!(
        proven.contains("sealed under a destroyed key") && proven.contains("the audit trail is whole"),
        "{proven}"
    );
    outputs.extend([listed, proven]);
    Ok(())
}

/// Searches all that the gateway and the commands wrote and said for the token. Returns how much was searched.
fn no_secret(stand: &Stand, token: &str, outputs: &[String]) -> anyhow::Result<usize> {
    let log = stand.log()?;
    ensure!(
        log.contains("TRACE") && log.contains("transit"),
        "the log is as loud as it can be, and of the service"
    );
    outputs.iter().try_for_each(|text| {
        ensure!(!text.contains(token), "a command or the audit tells the token");
        Ok(())
    })?;
    let mut files = Vec::new();
    for folder in stand.folders()? {
        files.extend(files_below(&folder)?);
    }
    files.extend(stand.logs());
    for file in &files {
        let bytes = std::fs::read(file)?;
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        ensure!(!found, "{} holds the token", file.display());
    }
    Ok(files.len() + outputs.len())
}
