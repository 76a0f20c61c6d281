//! Compiles the .proto files without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["frame", "down", "link", "journal", "alerts", "registry"]
        .map(|name| format!("wardline/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=wardline");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(files)?;
    let descriptors = compiler.file_descriptor_set();
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(
        std::path::Path::new(&out).join("wardline.v1.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes(".wardline.v1.Frame.body")
        .bytes(".wardline.v1.Publish.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
