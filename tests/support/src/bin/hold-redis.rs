//! Starts a server, prints its pid and directory, and never ends by itself: the victim of the orphan test.

use std::io::{Read, Write};

use cachex_test_support::RedisServer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let server = RedisServer::start().await;
    let pid = server.pid().ok_or_else(|| std::io::Error::other("the server ended"))?;
    println!("{pid} {}", server.dir().display());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
