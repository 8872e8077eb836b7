//! The committed table of what losses cost, `docs/figures/sim-loss.txt`, held to the build: a subset of its
//! cells is measured again. Exact figures move with every constant of the engine; what moves further than this
//! is a decision, to be made by running `scripts/sim-table` and looking at the diff.

use ringwire::sim::table::{Cell, HEADING, LOSSES_PPM, SIZES, cell, parse};

fn committed() -> Vec<Cell> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/figures/sim-loss.txt");
    let text = std::fs::read_to_string(path).expect("scripts/sim-table writes it");
    assert!(text.contains(HEADING));
    text.lines().filter_map(parse).collect()
}

#[test]
fn the_table_has_every_cell_once() {
    let cells: Vec<(u32, u32)> = committed().iter().map(|cell| (cell.loss_ppm, cell.size)).collect();
    let wanted: Vec<(u32, u32)> =
        LOSSES_PPM.iter().flat_map(|&loss| SIZES.iter().map(move |&size| (loss, size))).collect();
    assert_eq!(cells, wanted);
}

#[test]
fn the_table_is_what_this_build_does() {
    let committed = committed();
    for (loss_ppm, size) in [(0, 64), (10_000, 1_400), (200_000, 16_384), (10_000, 262_144)] {
        let now = cell(loss_ppm, size);
        let then = committed.iter().find(|cell| (cell.loss_ppm, cell.size) == (loss_ppm, size));
        let then = then.expect("the table has every cell");
        let near = |a: f64, b: f64| a <= 1.4 * b && b <= 1.4 * a;
        let why = format!("{then}\nis committed, and now it is\n{now}\nIf that is meant: scripts/sim-table");
        assert!(near(now.goodput_bit_s, then.goodput_bit_s), "goodput\n{why}");
        assert!(near(now.p99_9_us, then.p99_9_us), "p99.9\n{why}");
        let ratios = (now.repeated_per_lost, then.repeated_per_lost);
        assert!(ratios.0.is_some() == ratios.1.is_some(), "repeated for each lost\n{why}");
        if let (Some(now), Some(then)) = ratios {
            assert!((now - then).abs() <= 0.3, "repeated for each lost\n{why}");
        }
    }
}

#[test]
fn the_same_cell_comes_out_the_same_twice() {
    assert_eq!(cell(50_000, 1_400), cell(50_000, 1_400));
}
