//! Writes the seeds of a target where libFuzzer looks for them: `cargo run --example seeds stored`.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let target = env::args().nth(1).expect("the name of a target");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(&target);
    fs::create_dir_all(&folder)?;
    for (n, seed) in cachex_fuzz::seeds(&target).iter().enumerate() {
        fs::write(folder.join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}
