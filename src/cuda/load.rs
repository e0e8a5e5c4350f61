//! The CUDA libraries: where they are looked for, and why they cannot be had.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use candle::cuda_backend::cudarc::driver::sys::CUDA_VERSION;

use super::table::{Library, SYMBOLS, TABLE};

/// What a reason for doing without CUDA is told in.
pub(super) type Reason<T> = std::result::Result<T, String>;

/// Folders to look in before the system's own, and the libraries that are loaded.
static STATE: Mutex<State> = Mutex::new(State { folders: Vec::new(), loaded: Vec::new() });

struct State {
    folders: Vec<PathBuf>,
    loaded: Vec<Library>,
}

/// Names the folders (of pip's NVIDIA packages) that are looked in before the system's own.
pub(crate) fn look_in(folders: Vec<PathBuf>) {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).folders = folders;
}

/// Loads what computing on one GPU needs, or says what is missing; harmless when repeated.
pub(super) fn load() -> Reason<()> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.load(Library::Driver)?;
    state.load(Library::Blas)?;
    state.load(Library::Random)
}

/// Loads what several processes add up with.
#[cfg(feature = "nccl")]
pub(super) fn load_nccl() -> Reason<()> {
    load()?;
    STATE.lock().unwrap_or_else(PoisonError::into_inner).load(Library::Nccl)
}

impl State {
    fn load(&mut self, library: Library) -> Reason<()> {
        if self.loaded.contains(&library) {
            return Ok(());
        }
        let handle = self.find(library)?;
        if library == Library::Driver {
            check_driver(handle)?;
        }
        let wanted = || SYMBOLS.iter().zip(&TABLE).filter(|((_, of), _)| *of == library);
        let mut found = Vec::new();
        for ((name, _), entry) in wanted() {
            let address = look_up(handle, name)
                .ok_or_else(|| format!("{} lacks {}", library.file(), name.to_string_lossy()))?;
            found.push((entry, address));
        }
        for (entry, address) in found {
            entry.store(address, Ordering::Release);
        }
        self.loaded.push(library);
        Ok(())
    }

    /// Opens the library: from pip's folders, then wherever the system looks.
    fn find(&self, library: Library) -> Reason<*mut c_void> {
        let file = library.file();
        let mut packaged = self.folders.iter().map(|folder| folder.join(file));
        if let Some(path) = packaged.find(|path| path.exists()) {
            return open(&path.to_string_lossy());
        }
        open(file).map_err(|why| format!("{file} was not found ({}): {why}", library.remedy()))
    }
}

/// The version of CUDA, major · 1000 + minor · 10, that the driver serves and that this was built for.
pub(super) fn versions() -> Reason<(u32, u32)> {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let handle = state.find(Library::Driver)?;
    Ok((driver_version(handle)?, CUDA_VERSION))
}

/// Refuses a driver that is older than the toolkit that the kernels were compiled with.
fn check_driver(handle: *mut c_void) -> Reason<()> {
    let served = driver_version(handle)?;
    if served >= CUDA_VERSION {
        return Ok(());
    }
    let (found, wanted) = (version_text(served), version_text(CUDA_VERSION));
    Err(format!("the NVIDIA driver is too old: it serves CUDA {found}, expected {wanted} or later"))
}

/// 13000 as "13.0".
pub(super) fn version_text(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

#[allow(unsafe_code)]
fn driver_version(handle: *mut c_void) -> Reason<u32> {
    let address = look_up(handle, c"cuDriverGetVersion")
        .ok_or_else(|| "libcuda.so.1 lacks cuDriverGetVersion".to_owned())?;
    let mut version: c_int = 0;
    // SAFETY: the driver's documented signature is `CUresult cuDriverGetVersion(int *)`; it needs
    // no initialisation and writes one int.
    let status = unsafe {
        let function: unsafe extern "C" fn(*mut c_int) -> c_int = std::mem::transmute(address);
        function(&raw mut version)
    };
    match (status, u32::try_from(version)) {
        (0, Ok(version)) => Ok(version),
        _ => Err(format!("the NVIDIA driver does not tell its version (error {status})")),
    }
}

/// Opens a shared library by path or, without a slash, by the system's search.
#[allow(unsafe_code)]
fn open(name: &str) -> Reason<*mut c_void> {
    let path = CString::new(name).map_err(|_| format!("{name:?} has a zero byte"))?;
    // SAFETY: a string that ends in zero; the library's own start-up code is NVIDIA's, which any
    // CUDA program runs. The handle is never closed, so addresses stay valid.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: dlerror gives null or a string that lives until the next call of its kind here.
    let why: *mut c_char = unsafe { libc::dlerror() };
    if why.is_null() {
        return Err(format!("{name} does not load"));
    }
    // SAFETY: not null, so a string that ends in zero.
    Err(unsafe { CStr::from_ptr(why) }.to_string_lossy().into_owned())
}

#[allow(unsafe_code)]
fn look_up(handle: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `handle` came from `open` and is never closed; the name ends in zero.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_nvidia_writes_them() {
        assert_eq!(version_text(13000), "13.0");
        assert_eq!(version_text(12080), "12.8");
    }

    #[test]
    fn a_library_that_is_nowhere_is_named() {
        let why = open("libcarina-has-no-such.so.1").unwrap_err();
        assert!(why.contains("libcarina-has-no-such.so.1"), "{why}");
    }
}
