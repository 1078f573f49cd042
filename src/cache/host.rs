//! Which machine this is.

/// This machine's name, for people; no key holds it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The model and the architecture of this machine's processors, as `AMD EPYC 9654 (x86_64)`.
pub fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!("{model} ({})", std::env::consts::ARCH)
}
