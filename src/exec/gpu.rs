//! How a server is given its GPUs and no others.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::graph::hardware;

/// Whose GPUs a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Nvidia,
    Amd,
}

impl Vendor {
    /// By the GPU kind of a pool; none where the engine runs on the host's cores.
    pub fn of(gpu: &str) -> Option<Self> {
        match gpu {
            hardware::CPU => None,
            amd if amd.starts_with("mi") => Some(Self::Amd),
            _ => Some(Self::Nvidia),
        }
    }

    /// The variable by which the vendor's runtime shows a process only some of the GPUs that it could open. One of the
    /// two, never both: ROCm applies NVIDIA's on top of its own, to indices that are already renumbered.
    pub fn visible_devices(self) -> &'static str {
        match self {
            Self::Nvidia => "CUDA_VISIBLE_DEVICES",
            Self::Amd => "ROCR_VISIBLE_DEVICES",
        }
    }
}

/// The device nodes of some AMD GPUs, with the groups that may open them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AmdNodes {
    /// `/dev/kfd`, and one render node for each GPU.
    pub devices: Vec<PathBuf>,
    /// Numbers of the groups that own them.
    pub groups: Vec<u32>,
}

/// Why AMD GPUs have no device nodes.
#[derive(Debug, thiserror::Error)]
pub enum AmdError {
    #[error("this host has no AMD GPU, or its `amdgpu` driver is not loaded: read {}: {source}", path.display())]
    NoDriver { path: PathBuf, source: io::Error },
    #[error("the pool hands out AMD GPU {index}, and this host has {count}; correct the pool's `gpus`")]
    NoSuchGpu { index: u32, count: usize },
    #[error("look at {}: {source}", path.display())]
    NoNode { path: PathBuf, source: io::Error },
}

impl AmdNodes {
    /// Of the GPUs with these indices, counted as ROCm counts them: by the driver's topology.
    pub fn of(indices: &[u32]) -> Result<Self, AmdError> {
        Self::below(Path::new("/"), indices)
    }

    fn below(root: &Path, indices: &[u32]) -> Result<Self, AmdError> {
        let minors = render_minors(&root.join("sys/class/kfd/kfd/topology/nodes"))?;
        let mut nodes = Self {
            devices: vec!["/dev/kfd".into()],
            groups: Vec::new(),
        };
        for index in indices {
            let minor = minors.get(*index as usize).ok_or(AmdError::NoSuchGpu {
                index: *index,
                count: minors.len(),
            })?;
            nodes.devices.push(format!("/dev/dri/renderD{minor}").into());
        }
        for device in &nodes.devices {
            let path = root.join(device.strip_prefix("/").unwrap_or(device));
            let group = fs::metadata(&path)
                .map_err(|source| AmdError::NoNode { path, source })?
                .gid();
            if !nodes.groups.contains(&group) {
                nodes.groups.push(group);
            }
        }
        Ok(nodes)
    }
}

/// The render nodes of the topology's GPUs, in its order. A node without SIMDs is a CPU.
fn render_minors(topology: &Path) -> Result<Vec<u32>, AmdError> {
    let failed = |source| AmdError::NoDriver {
        path: topology.to_owned(),
        source,
    };
    let mut nodes: Vec<u32> = fs::read_dir(topology)
        .map_err(failed)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    nodes.sort_unstable();
    let mut minors = Vec::new();
    for node in nodes {
        let properties = fs::read_to_string(topology.join(node.to_string()).join("properties"));
        let properties = properties.map_err(failed)?;
        let property = |name: &str| {
            let line = properties.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u32>().ok())
                .unwrap_or(0)
        };
        if property("simd_count ") > 0 {
            minors.push(property("drm_render_minor "));
        }
    }
    Ok(minors)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn each_vendor_has_one_variable() {
        let variable = |gpu| Vendor::of(gpu).map(Vendor::visible_devices);
        assert_eq!(variable("h200"), Some("CUDA_VISIBLE_DEVICES"));
        assert_eq!(variable("mi355x"), Some("ROCR_VISIBLE_DEVICES"));
        assert_eq!(variable("cpu"), None);
    }

    #[test]
    fn amd_gpus_are_found_by_the_drivers_topology() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let topology = "sys/class/kfd/kfd/topology/nodes";
        // A CPU, then GPUs whose render nodes do not follow one another, and a tenth node that sorts after the second.
        write(
            &format!("{topology}/0/properties"),
            "cpu_cores_count 64\nsimd_count 0\ndrm_render_minor 0\n",
        );
        write(
            &format!("{topology}/1/properties"),
            "simd_count 1216\ndrm_render_minor 136\n",
        );
        write(
            &format!("{topology}/2/properties"),
            "simd_count 1216\ndrm_render_minor 128\n",
        );
        write(
            &format!("{topology}/10/properties"),
            "simd_count 1216\ndrm_render_minor 144\n",
        );
        for node in ["kfd", "dri/renderD128", "dri/renderD136", "dri/renderD144"] {
            write(&format!("dev/{node}"), "");
        }
        let nodes = AmdNodes::below(root.path(), &[0, 2]).unwrap();
        let expected = ["/dev/kfd", "/dev/dri/renderD136", "/dev/dri/renderD144"];
        assert_eq!(nodes.devices, expected.map(PathBuf::from));
        assert_eq!(
            nodes.groups,
            [fs::metadata(root.path().join("dev/kfd")).unwrap().gid()]
        );

        let error = AmdNodes::below(root.path(), &[3]).unwrap_err();
        assert!(
            error.to_string().contains("AMD GPU 3, and this host has 3"),
            "{error}"
        );
        let none = tempfile::tempdir().unwrap();
        let error = AmdNodes::below(none.path(), &[0]).unwrap_err();
        assert!(error.to_string().contains("this host has no AMD GPU"), "{error}");
    }
}
