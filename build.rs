//! With the feature `cuda`: what lets one shared object find CUDA at run time.
//!
//! candle asks the linker for the CUDA libraries. Empty archives stand in for them, so that the
//! shared object names none of them and a machine without CUDA loads it. Every function that is
//! then missing (`src/cuda/symbols.txt`) gets a trampoline: a jump through a table that
//! `src/cuda/load.rs` fills when a GPU is asked for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

type Failure = Box<dyn std::error::Error>;

/// Libraries that candle and cudarc name to the linker.
const STAND_INS: [&str; 6] = ["cuda", "cublas", "cublasLt", "curand", "nvrtc", "nccl"];

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let target = env::var("TARGET")?;
    if target != "x86_64-unknown-linux-gnu" {
        return Err(format!("the feature cuda builds for x86_64 Linux, found {target}").into());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let capability = env::var("CUDA_COMPUTE_CAP").map_err(|_| "CUDA_COMPUTE_CAP is not set")?;
    println!("cargo::rustc-env=CARINA_COMPUTE_CAPABILITY={capability}");
    fs::write(out.join("trampolines.rs"), trampolines(&symbols()?))?;
    stand_ins(&out.join("link"))
}

/// The functions to jump to. `CARINA_CUDA_SYMBOLS` names another list: `.ci/cuda` links with an
/// empty one to find out what is missing.
fn symbols() -> Result<Vec<String>, Failure> {
    println!("cargo::rerun-if-env-changed=CARINA_CUDA_SYMBOLS");
    let list = env::var("CARINA_CUDA_SYMBOLS").unwrap_or("src/cuda/symbols.txt".to_owned());
    println!("cargo::rerun-if-changed={list}");
    let nccl = env::var_os("CARGO_FEATURE_NCCL").is_some();
    let names = fs::read_to_string(&list).map_err(|error| format!("{list}: {error}"))?;
    let kept = names.lines().filter(|name| nccl || !name.starts_with("nccl"));
    Ok(kept.map(str::to_owned).collect())
}

/// The source of the trampolines: their names, their table, and a jump through it for each.
fn trampolines(symbols: &[String]) -> String {
    let all = |row: fn(usize, &str) -> String| -> String {
        symbols.iter().enumerate().map(|(i, symbol)| row(i, symbol)).collect()
    };
    let names = all(|_, symbol| format!("    (c\"{symbol}\", Library::{}),\n", library(symbol)));
    let table = all(|_, symbol| {
        let missing = format!("{}_missing", library(symbol).to_lowercase());
        format!("    AtomicPtr::new({missing} as *const () as *mut c_void),\n")
    });
    // Hidden: found by this library only, so that a real CUDA beside it is left alone.
    let code = all(|i, symbol| {
        format!(
            "    \".hidden {symbol}\", \".globl {symbol}\", \".type {symbol},@function\",\n    \
             \"{symbol}:\", \"jmp *{{table}}+{}(%rip)\",\n",
            8 * i
        )
    });
    let count = symbols.len();
    format!(
        "pub(super) static SYMBOLS: [(&CStr, Library); {count}] = [\n{names}];\n\
         pub(super) static TABLE: [AtomicPtr<c_void>; {count}] = [\n{table}];\n\
         std::arch::global_asm!(\n    \".text # {{table}}\",\n{code}    table = sym TABLE,\n    \
         options(att_syntax)\n);\n"
    )
}

/// The library that a function is looked up in: a variant of `Library` in `src/cuda/table.rs`.
fn library(symbol: &str) -> &'static str {
    let prefixes = [("cublas", "Blas"), ("curand", "Random"), ("nccl", "Nccl")];
    let found = prefixes.iter().find(|(prefix, _)| symbol.starts_with(prefix));
    found.map_or("Driver", |(_, library)| library)
}

/// Empty archives for the CUDA libraries, and the runtime that candle's quantised kernels need.
fn stand_ins(folder: &Path) -> Result<(), Failure> {
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    fs::create_dir_all(folder)?;
    for name in STAND_INS {
        fs::write(folder.join(format!("lib{name}.a")), "!<arch>\n")?;
    }
    let home =
        PathBuf::from(env::var("CUDA_HOME").map_err(|_| "CUDA_HOME is not set; .ci/cuda sets it")?);
    let runtime = ["lib", "lib64"].map(|lib| home.join(lib).join("libcudart_static.a"));
    let runtime = runtime
        .iter()
        .find(|path| path.exists())
        .ok_or_else(|| format!("no lib/libcudart_static.a in CUDA_HOME={}", home.display()))?;
    fs::copy(runtime, folder.join("libcudart.a"))?;
    println!("cargo::rustc-link-search=native={}", folder.display());
    Ok(())
}
