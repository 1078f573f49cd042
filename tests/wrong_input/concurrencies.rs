//! Concurrencies: a list or a range.

use super::*;

fn with(concurrencies: &str) -> String {
    after_alpha("conc-list: [1, 2, 4]", concurrencies)
}

#[test]
fn a_list_or_a_range() {
    insta::assert_snapshot!(with("conc-list: [4], conc-start: 1, conc-end: 2"), @"
    error: both `conc-list` and `conc-start`/`conc-end` are given
      --> configs/master.yaml:11:64
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [4], conc-start: 1, conc-end: 2 }] }
       |                                                                ^ expected a list or a range, not both
    ");
    insta::assert_snapshot!(with("conc-list: []"), @"
    error: no concurrency is given
      --> configs/master.yaml:11:44
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [] }] }
       |                                            ^ expected `conc-list: [4, 8]`, or `conc-start` and `conc-end`
    ");
    insta::assert_snapshot!(with("conc-start: 4"), @"
    error: no concurrency is given
      --> configs/master.yaml:11:44
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-start: 4 }] }
       |                                            ^ expected `conc-list: [4, 8]`, or `conc-start` and `conc-end`
    ");
    insta::assert_snapshot!(with("conc-start: 8, conc-end: 4"), @"
    error: `conc-start` (8) must be <= `conc-end` (4)
      --> configs/master.yaml:11:65
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-start: 8, conc-end: 4 }] }
       |                                                                 ^ expected at most 4
    ");
    insta::assert_snapshot!(with("conc-start: 0, conc-end: 4"), @"
    error: a concurrency is 0
      --> configs/master.yaml:11:65
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-start: 0, conc-end: 4 }] }
       |                                                                 ^ expected 1 or more
    ");
    insta::assert_snapshot!(with("conc-list: [4, 0]"), @"
    error: a concurrency is 0
      --> configs/master.yaml:11:68
       |
    11 |       - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [4, 0] }] }
       |                                                                    ^ expected 1 or more
    ");
}

#[test]
fn a_concurrency_beyond_all_measure_is_refused() {
    insta::assert_snapshot!(with("conc-list: [4294967295]"), @"
    error: recipe `sglang` does not expand: `4 * conc` gives `17179869180`, which is no number of requests
     --> benchmarks/sglang/recipe.yaml:8:19
      |
    8 | bench: { prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                   ^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c4294967295`
      |
      = help: docs/recipes.md tells what templates may say
    ");
}
