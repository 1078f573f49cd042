//! Which machine this is.

use std::fs::File;
use std::io::Read;

/// This machine's name, for people; no key holds it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The model and the architecture of this machine's processors, as `AMD EPYC 9654 (x86_64)`.
pub fn cpu_model() -> String {
    // The kernel makes this file up while it is read, processor by processor; the first one tells.
    let mut first = Vec::new();
    let read = File::open("/proc/cpuinfo").and_then(|info| info.take(4096).read_to_end(&mut first));
    let info = String::from_utf8_lossy(if read.is_ok() { &first } else { &[] });
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!("{model} ({})", std::env::consts::ARCH)
}
