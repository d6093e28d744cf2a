//! Generates messages, clients and servers from `proto/`, and beside them the table of who may call what.
//!
//! protox compiles the protos, so that nobody installs protoc. The table comes from our own method option,
//! `sandgate.options.v1.access`, which prost drops; prost-reflect still has it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ServiceDescriptor, Value};
use tonic_build::{Method as _, Service as _, manual};

const ACCESS: &str = "sandgate.options.v1.access";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut protos = Vec::new();
    find_protos(&root, &mut protos)?;
    protos.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&protos)?;
    let encoded = compiler.encode_file_descriptor_set();
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script its folder in the environment"
    )]
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    fs::write(out.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .bytes(".sandgate.storage.v1.UploadChunksRequest.chunks")
        .bytes(".sandgate.storage.v1.FileData.data")
        .bytes(".sandgate.sandbox.v1.Output.data")
        .compile_fds(prost_types_set(&encoded)?)?;

    let pool = DescriptorPool::decode(encoded.as_slice())?;
    fs::write(out.join("methods.rs"), method_table(&pool)?)?;
    Ok(())
}

fn find_protos(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.push(path);
        }
    }
    Ok(())
}

fn prost_types_set(
    encoded: &[u8],
) -> Result<tonic_prost_build::FileDescriptorSet, prost::DecodeError> {
    tonic_prost_build::FileDescriptorSet::decode(encoded)
}

/// Rust source of a slice of `Method`, one for each RPC of ours.
fn method_table(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let extension = pool
        .get_extension_by_name(ACCESS)
        .ok_or("the access option is declared")?;
    let mut source = String::from("&[\n");
    for service in pool
        .services()
        .filter(|service| service.package_name().starts_with("sandgate."))
    {
        let described = describe(&service);
        for (method, descriptor) in described.methods().iter().zip(service.methods()) {
            let options = descriptor.options();
            let access = if options.has_extension(&extension) {
                let value = options.get_extension(&extension);
                access_source(value.as_message().ok_or("the access option is a message")?)?
            } else {
                "None".to_owned()
            };
            writeln!(
                source,
                "    Method {{ path: \"/{}.{}/{}\", streams_in: {}, streams_out: {}, access: {access} }},",
                described.package(),
                described.identifier(),
                method.identifier(),
                method.client_streaming(),
                method.server_streaming(),
            )?;
        }
    }
    source.push_str("]\n");
    Ok(source)
}

fn describe(service: &ServiceDescriptor) -> manual::Service {
    let mut described = manual::Service::builder()
        .name(service.name())
        .package(service.package_name());
    for method in service.methods() {
        described = described.method(describe_method(&method));
    }
    described.build()
}

fn describe_method(method: &MethodDescriptor) -> manual::Method {
    let mut described = manual::Method::builder()
        .name(method.name())
        .route_name(method.name())
        .input_type(method.input().full_name())
        .output_type(method.output().full_name())
        .codec_path("tonic_prost::ProstCodec");
    if method.is_client_streaming() {
        described = described.client_streaming();
    }
    if method.is_server_streaming() {
        described = described.server_streaming();
    }
    described.build()
}

fn access_source(access: &DynamicMessage) -> Result<String, Box<dyn std::error::Error>> {
    let numbers = |field: &str| -> Vec<i32> {
        access
            .get_field_by_name(field)
            .and_then(|value| {
                value
                    .as_list()
                    .map(|list| list.iter().filter_map(Value::as_enum_number).collect())
            })
            .unwrap_or_default()
    };
    let idempotent = access
        .get_field_by_name("idempotent")
        .and_then(|value| value.as_bool())
        .unwrap_or(false);
    let deadline = access
        .get_field_by_name("deadline")
        .and_then(|value| value.as_enum_number())
        .unwrap_or(0);
    Ok(format!(
        "Some(Access {{ services: &{:?}, roles: &{:?}, idempotent: {idempotent}, deadline: {deadline} }})",
        numbers("services"),
        numbers("roles"),
    ))
}
