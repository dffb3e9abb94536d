//! Compiles the .proto files without a system protoc (protox is a protobuf compiler in Rust).

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=loadline");
    let descriptors = protox::compile(["loadline/agent/v1/agent.proto"], ["."])?;
    // For server reflection.
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
