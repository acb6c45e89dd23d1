"""Every table's columns. A run's Parquet lacks `run_id`; the store adds it."""

import pyarrow as pa

_i32, _i64, _f64, _str, _bool = pa.int32(), pa.int64(), pa.float64(), pa.string(), pa.bool_()

RUN_TABLES: dict[str, dict[str, pa.DataType]] = {
    "saes": {
        "seed": _i64,
        "fvu": _f64,
        "l0": _f64,
        "alive_share": _f64,
        "n_alive": _i64,
        "d_sae": _i64,
        "mean_activation_norm": _f64,
        "gt_mcc_abs": _f64,
        "gt_mcc_signed": _f64,
        "gt_f1": _f64,
        "gt_uniqueness": _f64,
        "uniqueness": _f64,
        "n_near_duplicates": _i64,
        "mutual_coherence": _f64,
        "encoder_alignment": _f64,
        "round_trip_support": _f64,
        "round_trip_error": _f64,
        "cross_entropy": _f64,
        "cross_entropy_sae": _f64,
        "kl_sae": _f64,
        "samples_seen": _i64,
    },
    "pairs": {
        "seed_a": _i64,
        "seed_b": _i64,
        "subset": _str,
        "n": _i64,
        "pw_mcc_abs": _f64,
        "pw_mcc_signed": _f64,
        "null_mean": _f64,
        "null_std": _f64,
        "calibrated": _f64,
        "max_cosine_ab": _f64,
        "max_cosine_ba": _f64,
        "gap": _f64,
        "shared_share": _f64,
        "encoder_cosine": _f64,
        "code_correlation": _f64,
        "support_jaccard": _f64,
        "unstable_overlap": _f64,
        "unstable_overlap_chance": _f64,
    },
    "matches": {
        "seed_a": _i64,
        "seed_b": _i64,
        "subset": _str,
        "rank": _i32,
        "feature_a": _i32,
        "feature_b": _i32,
        "cosine": _f64,
        "frequency_a": _f64,
        "frequency_b": _f64,
        "encoder_cosine": _f64,
        "code_correlation": _f64,
        "support_jaccard": _f64,
    },
    "features": {
        "seed": _i64,
        "feature": _i32,
        "frequency": _f64,
        "mean_activation": _f64,
        "alive": _bool,
        "stability": _f64,
        "max_cosine": _f64,
        "encoder_alignment": _f64,
        "near_duplicate": _bool,
        "gt_feature": _i32,
        "gt_cosine": _f64,
    },
    "gt_features": {
        "seed": _i64,
        "gt_feature": _i32,
        "gt_frequency": _f64,
        "gt_group": _i32,
        "feature": _i32,
        "cosine": _f64,
        "f1": _f64,
        "n_latents": _i32,
    },
    "ablations": {
        "seed": _i64,
        "ablated": _str,
        "n_features": _i64,
        "frequency_sum": _f64,
        "fvu": _f64,
        "fvu_change": _f64,
        "cross_entropy_change": _f64,
        "kl": _f64,
    },
    "explanations": {
        "seed_a": _i64,
        "seed_b": _i64,
        "feature_a": _i32,
        "feature_b": _i32,
        "cosine": _f64,
        "agreement": _f64,
        "chance": _f64,
        "method": _str,
    },
    "contexts": {
        "seed": _i64,
        "feature": _i32,
        "rank": _i32,
        "value": _f64,
        "before": _str,
        "token": _str,
        "after": _str,
    },
    "trajectory": {
        "step": _i64,
        "seed_a": _i64,
        "seed_b": _i64,
        "pw_mcc_abs": _f64,
        "pw_mcc_signed": _f64,
    },
    "gt_trajectory": {"step": _i64, "seed": _i64, "gt_mcc_abs": _f64},
    "metrics": {"step": _i64, "seed": _i64, "name": _str, "value": _f64},
}

STORE_TABLES: dict[str, dict[str, pa.DataType]] = {
    "runs": {
        "id": _str,
        "study": _str,
        "preset": _str,
        "config": _str,
        "seeds": _str,
        "data_seed": _i64,
        "fingerprint": _str,
        "code_version": _str,
        "state": _str,
        "created": _f64,
        "started": _f64,
        "finished": _f64,
        "error": _str,
    },
    "activation_shards": {
        "fingerprint": _str,
        "model": _str,
        "hook_point": _str,
        "corpus": _str,
        "split": _str,
        "file": _str,
        "rows": _i64,
        "d_in": _i64,
        "sha256": _str,
    },
    "claims": {
        "study": _str,
        "claim": _str,
        "sentence": _str,
        "paper": _str,
        "rule": _str,
        "value": _f64,
        "low": _f64,
        "high": _f64,
        "seeds": _i64,
        "chance": _f64,
        "baseline": _f64,
        "baseline_name": _str,
        "verdict": _str,
        "preset": _str,
        "runs": _str,
        "created": _f64,
    },
}


def run_columns(name: str) -> pa.Schema:
    """The Arrow schema of a run's table. Raises KeyError for an undeclared name."""
    return pa.schema(list(RUN_TABLES[name].items()))


_SQL = {_i32: "INTEGER", _i64: "BIGINT", _f64: "DOUBLE", _str: "VARCHAR", _bool: "BOOLEAN"}


def create_statements() -> list[str]:
    """DDL of every table of the store."""
    tables = {name: {"run_id": _str, **columns} for name, columns in RUN_TABLES.items()} | STORE_TABLES
    return [
        f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(f'{c} {_SQL[t]}' for c, t in columns.items())})"
        for name, columns in tables.items()
    ]
