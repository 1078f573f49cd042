//! The GPUs that the simulated engine knows: what the vendors' data sheets say of each, and nothing measured.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number format of a model's weights, as master configs spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// MXFP4, or NVFP4, which is 6 % larger: 4-bit floats with a shared scale per small block.
    Fp4,
    /// 8-bit floats.
    Fp8,
    /// 16-bit brain floats.
    Bf16,
    /// 4-bit integer weights, multiplied in bf16 (W4A16).
    Int4,
}

impl Precision {
    /// Bytes that one quantised weight takes, scales included.
    pub fn weight_bytes(self) -> f64 {
        match self {
            // MXFP4: 4 bits and one 8-bit scale for 32 weights.
            Self::Fp4 => 4.25 / 8.0,
            // Scales of 128x128 blocks are lost in the noise.
            Self::Fp8 => 1.0,
            Self::Bf16 => 2.0,
            // 4 bits and one 16-bit scale for 64 weights.
            Self::Int4 => 4.25 / 8.0,
        }
    }

    /// Bytes of one weight that a quantised mixture-of-experts checkpoint leaves outside its experts.
    ///
    /// 4-bit checkpoints of that kind (gpt-oss, DeepSeek-R1-FP4) quantise the experts only.
    pub fn unquantised_weight_bytes(self) -> f64 {
        match self {
            Self::Fp4 | Self::Int4 | Self::Bf16 => 2.0,
            Self::Fp8 => 1.0,
        }
    }

    /// Bytes of one element of the KV cache: fp8 beside fp8 and fp4 weights, as recipes serve them, else bf16.
    pub fn kv_element_bytes(self) -> f64 {
        match self {
            Self::Fp4 | Self::Fp8 => 1.0,
            Self::Bf16 | Self::Int4 => 2.0,
        }
    }

    /// The name on the command line and in configs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp4 => "fp4",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16",
            Self::Int4 => "int4",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One GPU as its data sheet has it. Rates are peaks: `step` takes its share of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// The name in runner labels and on the command line.
    pub name: &'static str,
    /// Memory bandwidth, bytes/s.
    pub hbm_bandwidth: f64,
    /// Memory, bytes (data sheets count in powers of ten).
    pub hbm_capacity: f64,
    /// Dense bf16 tensor rate, FLOP/s.
    pub bf16_flops: f64,
    /// Dense fp8 tensor rate, FLOP/s.
    pub fp8_flops: f64,
    /// Dense fp4 tensor rate, FLOP/s; `None` where the hardware has no fp4 units.
    pub fp4_flops: Option<f64>,
    /// Bandwidth to the other GPUs in one direction, bytes/s.
    pub link_bandwidth: f64,
}

impl Gpu {
    /// Dense rate in FLOP/s at which weights of this precision are multiplied.
    ///
    /// int4, and fp4 without fp4 units, are widened to bf16 on the way in, as Marlin-like kernels do.
    pub fn peak_flops(&self, precision: Precision) -> f64 {
        match precision {
            Precision::Fp4 => self.fp4_flops.unwrap_or(self.bf16_flops),
            Precision::Fp8 => self.fp8_flops,
            Precision::Bf16 | Precision::Int4 => self.bf16_flops,
        }
    }
}

const TERA: f64 = 1e12;
const GIGA: f64 = 1e9;

/// All GPUs, by name. Data sheets quote tensor rates with 2:4 sparsity; these are the dense halves unless said.
pub const GPUS: &[Gpu] = &[
    Gpu {
        name: "h100",
        hbm_bandwidth: 3.35 * TERA,   // NVIDIA H100 data sheet, SXM: 3.35 TB/s
        hbm_capacity: 80.0 * GIGA,    // same: 80 GB
        bf16_flops: 989.5 * TERA,     // same: 1,979 TFLOPS sparse
        fp8_flops: 1979.0 * TERA,     // same: 3,958 TFLOPS sparse
        fp4_flops: None,              // Hopper has no fp4 tensor cores
        link_bandwidth: 450.0 * GIGA, // same: NVLink 900 GB/s, both directions together
    },
    Gpu {
        name: "h200",
        hbm_bandwidth: 4.8 * TERA,    // NVIDIA H200 data sheet, SXM: 4.8 TB/s
        hbm_capacity: 141.0 * GIGA,   // same: 141 GB
        bf16_flops: 989.5 * TERA,     // same: 1,979 TFLOPS sparse
        fp8_flops: 1979.0 * TERA,     // same: 3,958 TFLOPS sparse
        fp4_flops: None,              // Hopper has no fp4 tensor cores
        link_bandwidth: 450.0 * GIGA, // same: NVLink 900 GB/s, both directions together
    },
    Gpu {
        name: "b200",
        hbm_bandwidth: 8.0 * TERA,  // NVIDIA DGX B200 data sheet: 64 TB/s for 8 GPUs
        hbm_capacity: 180.0 * GIGA, // same: 1,440 GB for 8 GPUs
        bf16_flops: 2250.0 * TERA,  // NVIDIA HGX B200 data sheet: 36 PFLOPS sparse for 8 GPUs
        fp8_flops: 4500.0 * TERA,   // same: 72 PFLOPS sparse for 8 GPUs
        fp4_flops: Some(9000.0 * TERA), // same: 72 PFLOPS dense for 8 GPUs
        link_bandwidth: 900.0 * GIGA, // same: NVLink 1.8 TB/s, both directions together
    },
    Gpu {
        name: "b300",
        hbm_bandwidth: 8.0 * TERA,       // NVIDIA Blackwell Ultra data sheet: 8 TB/s
        hbm_capacity: 288.0 * GIGA,      // same: 288 GB; HGX B300: 2.3 TB for 8 GPUs
        bf16_flops: 2250.0 * TERA,       // NVIDIA HGX B300 data sheet: 36 PFLOPS sparse for 8 GPUs
        fp8_flops: 4500.0 * TERA,        // same: 72 PFLOPS sparse for 8 GPUs
        fp4_flops: Some(13500.0 * TERA), // same: 108 PFLOPS dense for 8 GPUs
        link_bandwidth: 900.0 * GIGA,    // same: NVLink 1.8 TB/s, both directions together
    },
    Gpu {
        name: "gb200",
        hbm_bandwidth: 8.0 * TERA, // NVIDIA GB200 NVL72 data sheet: 576 TB/s for 72 GPUs
        hbm_capacity: 186.0 * GIGA, // same: 13.4 TB for 72 GPUs
        bf16_flops: 2500.0 * TERA, // same: 360 PFLOPS sparse for 72 GPUs
        fp8_flops: 5000.0 * TERA,  // same: 720 PFLOPS sparse for 72 GPUs
        fp4_flops: Some(10000.0 * TERA), // same: 720 PFLOPS dense for 72 GPUs
        link_bandwidth: 900.0 * GIGA, // same: NVLink 130 TB/s for 72 GPUs, both directions together
    },
    Gpu {
        name: "gb300",
        hbm_bandwidth: 8.0 * TERA, // NVIDIA GB300 NVL72 data sheet: 576 TB/s for 72 GPUs
        hbm_capacity: 288.0 * GIGA, // NVIDIA Blackwell Ultra data sheet: 288 GB
        bf16_flops: 2500.0 * TERA, // GB300 NVL72: 360 PFLOPS sparse for 72 GPUs
        fp8_flops: 5000.0 * TERA,  // same: 720 PFLOPS sparse for 72 GPUs
        fp4_flops: Some(15000.0 * TERA), // same: 1,080 PFLOPS dense for 72 GPUs
        link_bandwidth: 900.0 * GIGA, // same: NVLink 130 TB/s for 72 GPUs, both directions together
    },
    Gpu {
        name: "mi300x",
        hbm_bandwidth: 5.3 * TERA,    // AMD Instinct MI300X data sheet: 5.3 TB/s
        hbm_capacity: 192.0 * GIGA,   // same: 192 GB
        bf16_flops: 1307.4 * TERA,    // same: 1,307.4 TFLOPS dense
        fp8_flops: 2614.9 * TERA,     // same: 2,614.9 TFLOPS dense
        fp4_flops: None,              // CDNA 3 has no fp4 matrix cores
        link_bandwidth: 448.0 * GIGA, // same: 7 Infinity Fabric links of 128 GB/s, both directions together
    },
    Gpu {
        name: "mi325x",
        hbm_bandwidth: 6.0 * TERA,    // AMD Instinct MI325X data sheet: 6 TB/s
        hbm_capacity: 256.0 * GIGA,   // same: 256 GB
        bf16_flops: 1307.4 * TERA,    // same: 1,307.4 TFLOPS dense
        fp8_flops: 2614.9 * TERA,     // same: 2,614.9 TFLOPS dense
        fp4_flops: None,              // CDNA 3 has no fp4 matrix cores
        link_bandwidth: 448.0 * GIGA, // same: 7 Infinity Fabric links of 128 GB/s, both directions together
    },
    Gpu {
        name: "mi355x",
        hbm_bandwidth: 8.0 * TERA,       // AMD Instinct MI355X data sheet: 8 TB/s
        hbm_capacity: 288.0 * GIGA,      // same: 288 GB
        bf16_flops: 2516.6 * TERA,       // same: 2.5166 PFLOPS dense
        fp8_flops: 5033.2 * TERA,        // same: 5.0332 PFLOPS dense
        fp4_flops: Some(10066.3 * TERA), // same: MXFP4 10.0663 PFLOPS dense
        link_bandwidth: 537.6 * GIGA, // same: 7 Infinity Fabric links of 153.6 GB/s, both directions together
    },
    Gpu {
        name: "rtx6000pro",
        hbm_bandwidth: 1.597 * TERA, // NVIDIA RTX PRO 6000 Blackwell Server Edition: GDDR7, 1,597 GB/s
        hbm_capacity: 96.0 * GIGA,   // same: 96 GB
        bf16_flops: 500.0 * TERA,    // same: a quarter of the dense fp4 rate
        fp8_flops: 1000.0 * TERA,    // same: half of the dense fp4 rate
        fp4_flops: Some(2000.0 * TERA), // same: 4 PFLOPS sparse
        link_bandwidth: 64.0 * GIGA, // PCIe 5.0 x16, one direction; it has no NVLink
    },
];

/// The GPU of this name (any case), or `None`; [`GPUS`] has them all.
pub fn lookup(name: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn lookup_ignores_case_and_refuses_strangers() {
        assert_eq!(lookup("H200").unwrap().name, "h200");
        assert!(lookup("h2000").is_none());
    }

    #[test]
    fn narrower_formats_are_never_slower_on_native_hardware() {
        for gpu in GPUS {
            assert!(gpu.fp8_flops > gpu.bf16_flops, "{}", gpu.name);
            assert!(
                gpu.fp4_flops.is_none_or(|fp4| fp4 > gpu.fp8_flops),
                "{}",
                gpu.name
            );
        }
    }

    #[test]
    fn fp4_without_fp4_units_runs_at_the_bf16_rate() {
        let h100 = lookup("h100").unwrap();
        assert_eq!(h100.peak_flops(Precision::Fp4), h100.bf16_flops);
    }
}
