//! Compiles the .proto files without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["frame", "link", "journal", "alerts", "registry"].map(|name| format!("wardline/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=wardline");
    let descriptors = protox::compile(files, ["."])?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes(".wardline.v1.Frame.body")
        .bytes(".wardline.v1.Publish.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
