//! Rows as comma-separated values, a column for each fact, for spreadsheets and data frames.

use csv::{Terminator, WriterBuilder};

use super::collect::{Provenance, Rows, State};
use super::row::{Nature, Row};

/// Fields of a row that stand under their own name: lengths and sizes in tokens and GPUs.
const DEPLOYMENT: [&str; 29] = [
    "infmax_model_prefix",
    "model",
    "hw",
    "framework",
    "precision",
    "spec_decoding",
    "image",
    "isl",
    "osl",
    "is_multinode",
    "disagg",
    "tp",
    "pp",
    "pcp_size",
    "ep",
    "dp_attention",
    "prefill_num_workers",
    "prefill_tp",
    "prefill_pp",
    "prefill_ep",
    "prefill_dp_attention",
    "decode_num_workers",
    "decode_tp",
    "decode_pp",
    "decode_ep",
    "decode_dp_attention",
    "num_prefill_gpu",
    "num_decode_gpu",
    "conc",
];

/// Headings with the unit, the field of the row, and what the row's unit is multiplied by.
const NUMBERS: [(&str, &str, f64); 11] = [
    ("median_ttft_ms", "median_ttft", 1e3),
    ("p99_ttft_ms", "p99_ttft", 1e3),
    ("median_tpot_ms", "median_tpot", 1e3),
    ("p99_tpot_ms", "p99_tpot", 1e3),
    ("median_itl_ms", "median_itl", 1e3),
    ("median_intvty_tok_s_user", "median_intvty", 1.0),
    ("median_e2el_s", "median_e2el", 1.0),
    ("p99_e2el_s", "p99_e2el", 1.0),
    ("tput_tok_s_gpu", "tput_per_gpu", 1.0),
    ("output_tput_tok_s_gpu", "output_tput_per_gpu", 1.0),
    ("input_tput_tok_s_gpu", "input_tput_per_gpu", 1.0),
];

const PROVENANCE: [&str; 6] = ["simulated", "state", "run", "date", "host", "target"];

/// Rows of one nature as CSV with a heading; what a row has no value for is empty.
pub fn csv(rows: &Rows<'_>) -> String {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    let numbers = NUMBERS.map(|(heading, _, _)| heading);
    let heading = DEPLOYMENT.into_iter().chain(numbers).chain(PROVENANCE);
    let mut records = vec![heading.map(str::to_owned).collect::<Vec<_>>()];
    for one in rows.iter() {
        let deployment = DEPLOYMENT
            .iter()
            .map(|field| one.row.text(field).unwrap_or_default());
        let numbers = NUMBERS
            .iter()
            .map(|(_, field, factor)| number(&one.row, field, *factor));
        let provenance = provenance(&one.row, &one.provenance);
        records.push(deployment.chain(numbers).chain(provenance).collect());
    }
    for record in &records {
        writer
            .write_record(record)
            .expect("all records are equally long, and memory takes them");
    }
    let bytes = writer.into_inner().expect("memory takes what is buffered");
    String::from_utf8(bytes).expect("the fields are text")
}

fn number(row: &Row, field: &str, factor: f64) -> String {
    row.number(field)
        .map(|value| (value * factor).to_string())
        .unwrap_or_default()
}

fn provenance(row: &Row, provenance: &Provenance) -> [String; 6] {
    let state = match provenance.state {
        State::Fresh => "fresh",
        State::Cached => "cached",
    };
    [
        (row.nature() == Nature::Simulated).to_string(),
        state.to_owned(),
        provenance.run.clone(),
        provenance.date_text(),
        provenance.host.clone(),
        provenance.target.clone(),
    ]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::super::collect::Collection;
    use super::super::fixture::{collected, disagg, single};
    use super::*;

    #[test]
    fn each_fact_has_its_column() {
        let mut named = single(8, 8, 256);
        named.image = "registry/engine:1, nightly".to_owned();
        let rows = vec![
            collected(&named, State::Cached, false),
            collected(&disagg(2, 1), State::Fresh, false),
        ];
        insta::assert_snapshot!(csv(&Collection::new(rows).of(Nature::Measured)), @r#"
        infmax_model_prefix,model,hw,framework,precision,spec_decoding,image,isl,osl,is_multinode,disagg,tp,pp,pcp_size,ep,dp_attention,prefill_num_workers,prefill_tp,prefill_pp,prefill_ep,prefill_dp_attention,decode_num_workers,decode_tp,decode_pp,decode_ep,decode_dp_attention,num_prefill_gpu,num_decode_gpu,conc,median_ttft_ms,p99_ttft_ms,median_tpot_ms,p99_tpot_ms,median_itl_ms,median_intvty_tok_s_user,median_e2el_s,p99_e2el_s,tput_tok_s_gpu,output_tput_tok_s_gpu,input_tput_tok_s_gpu,simulated,state,run,date,host,target
        m1,lab/model,h200,dynamo-sglang,fp8,none,engine:1,8192,1024,true,true,,,,,,2,4,1,1,true,1,8,1,1,false,8,8,64,232,,13,,,76.92307692307692,12.2,,3200,720,5680,false,fresh,r7,2026-11-20T08:30:00Z,node-a,process:m1-fp8-h200-sglang/8k1k/p2xtp4-dpa+d1xtp8/c64
        m1,lab/model,h200,sglang,fp8,none,"registry/engine:1, nightly",8192,1024,false,false,8,1,1,8,true,,,,,,,,,,,,,256,808,,37,,,27.027027027027028,21.8,,25600,2880,22720,false,cached,r7,2026-11-20T08:30:00Z,node-a,process:m1-fp8-h200-sglang/8k1k/tp8-ep8-dpa/c256
        "#);
    }

    #[test]
    fn what_is_written_reads_back() {
        let collection = Collection::new(vec![collected(&single(8, 1, 4), State::Fresh, true)]);
        assert_eq!(csv(&collection.of(Nature::Measured)).lines().count(), 1);
        let text = csv(&collection.of(Nature::Simulated));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let record: std::collections::HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
        assert_eq!(record["simulated"], "true");
        assert_eq!(record["median_ttft_ms"], "52");
        assert_eq!(record["p99_ttft_ms"], "");
        assert_eq!(record["target"], "process:m1-fp8-h200-sglang/8k1k/tp8/c4");
    }
}
