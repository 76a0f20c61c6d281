//! A way between two machines that can be cut: what is under way waits, as in a network, and arrives when it heals.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(20);

/// A wire; its threads live as long as the test's process.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    cut: Arc<AtomicBool>,
}

impl Wire {
    /// Makes a way to a port of this machine; returns the port where it begins.
    pub(crate) fn to_port(&self, to: u16) -> anyhow::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let wire = self.clone();
        spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                wire.wait();
                if let Ok(far) = TcpStream::connect(("127.0.0.1", to)) {
                    wire.carry(near, far);
                }
            }
        });
        Ok(port)
    }

    /// Makes a way from one socket in the file system to another.
    pub(crate) fn to_socket(&self, at: &Path, to: PathBuf) -> anyhow::Result<()> {
        let (listener, wire) = (UnixListener::bind(at)?, self.clone());
        spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                wire.wait();
                if let Ok(far) = UnixStream::connect(&to) {
                    wire.carry(near, far);
                }
            }
        });
        Ok(())
    }

    /// Cuts it: nothing arrives any more, and nobody is told.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Mends it.
    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }

    fn wait(&self) {
        while self.cut.load(Ordering::Relaxed) {
            sleep(LOOK);
        }
    }

    fn carry<P: Plug>(&self, near: P, far: P) {
        if let (Ok(from), Ok(to)) = (near.twin(), far.twin()) {
            let wire = self.clone();
            spawn(move || wire.pump(from, to));
        }
        let wire = self.clone();
        spawn(move || wire.pump(far, near));
    }

    fn pump<P: Plug>(&self, mut from: P, mut to: P) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count) = from.read(&mut bytes) {
            self.wait();
            if count == 0 || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        from.hang_up();
        to.hang_up();
    }
}

/// One end of a connection.
trait Plug: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> std::io::Result<Self>;
    fn hang_up(&self);
}

impl Plug for TcpStream {
    fn twin(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        let _gone_already = self.shutdown(Shutdown::Both);
    }
}

impl Plug for UnixStream {
    fn twin(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        let _gone_already = self.shutdown(Shutdown::Both);
    }
}
