//! Where entries and edges are drawn: layers from parents down to children, as Sugiyama, Tagawa and Toda lay graphs out.
//! The same lineage always gets the same places.

use std::collections::HashMap;

/// Size of an entry, and the space between layers.
pub(crate) const WIDTH: f64 = 268.0;
pub(crate) const HEIGHT: f64 = 104.0;
pub(crate) const PITCH: f64 = 184.0;
pub(crate) const MARGIN: f64 = 32.0;

/// The places of a lineage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// The middle of each entry's upper border.
    pub(crate) places: Vec<(f64, f64)>,
    /// Where the trunk of an entry's long edges passes the layers below it, down to the last but one.
    pub(crate) trunks: HashMap<usize, Vec<f64>>,
    pub(crate) layers: Vec<usize>,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Layout {
    /// Where an edge passes the layers between its ends; nowhere if there are none, or it goes straight.
    pub(crate) fn passes(&self, from: usize, to: usize) -> Vec<(f64, f64)> {
        let layer = |entry: usize| self.layers.get(entry).copied().unwrap_or_default();
        let between = layer(to).saturating_sub(layer(from) + 1);
        let trunk = self.trunks.get(&from).into_iter().flatten().take(between);
        trunk.enumerate().map(|(step, x)| (*x, top(layer(from) + 1 + step))).collect()
    }
}

fn top(layer: usize) -> f64 {
    f64::from(u32::try_from(layer).unwrap_or(u32::MAX)) * PITCH + MARGIN
}

/// A place in a layer: an entry's, or of a long edge that passes.
#[derive(Debug)]
struct Cell {
    /// None for an edge.
    entry: Option<usize>,
    layer: usize,
    above: Vec<usize>,
    below: Vec<usize>,
    x: f64,
}

/// With more places for long edges than this, these go straight.
const PASSING: usize = 100_000;
const SWEEPS: usize = 12;

/// Lays a lineage out, given the parents of each entry. A parent comes before its children.
pub(crate) fn lay_out(parents: &[Vec<usize>]) -> Layout {
    let layers = layers(parents);
    let mut cells: Vec<Cell> = layers
        .iter()
        .enumerate()
        .map(|(entry, layer)| Cell {
            entry: Some(entry),
            layer: *layer,
            above: vec![],
            below: vec![],
            x: 0.0,
        })
        .collect();
    let trunks = connect(&mut cells, parents, &layers);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); layers.iter().max().map_or(0, |last| last + 1)];
    for (index, cell) in cells.iter().enumerate() {
        if let Some(row) = rows.get_mut(cell.layer) {
            row.push(index);
        }
    }
    order(&cells, &mut rows);
    place(&mut cells, &rows);
    let least = cells.iter().map(left).fold(f64::INFINITY, f64::min);
    for cell in &mut cells {
        cell.x = (cell.x - least + MARGIN).round();
    }
    let x = |cell: &usize| cells.get(*cell).map_or(0.0, |cell| cell.x);
    let width = cells.iter().map(|cell| 2.0f64.mul_add(cell.x, -left(cell))).fold(0.0, f64::max);
    Layout {
        places: layers.iter().enumerate().map(|(entry, layer)| (x(&entry), top(*layer))).collect(),
        trunks: trunks.into_iter().map(|(from, trunk)| (from, trunk.iter().map(x).collect())).collect(),
        width: width + MARGIN,
        height: if rows.is_empty() { 2.0 * MARGIN } else { top(rows.len() - 1) + HEIGHT + MARGIN },
        layers,
    }
}

fn left(cell: &Cell) -> f64 {
    cell.x - half(cell)
}

/// Half of what a place needs.
fn half(cell: &Cell) -> f64 {
    if cell.entry.is_some() { WIDTH / 2.0 } else { 12.0 }
}

const GAP: f64 = 28.0;

/// One below the lowest parent; roots stand right above their first child.
fn layers(parents: &[Vec<usize>]) -> Vec<usize> {
    let mut layers = vec![0_usize; parents.len()];
    let mut highest: Vec<Option<usize>> = vec![None; parents.len()];
    for (entry, list) in parents.iter().enumerate() {
        let layer = list.iter().filter_map(|parent| layers.get(*parent)).max().map_or(0, |layer| layer + 1);
        if let Some(slot) = layers.get_mut(entry) {
            *slot = layer;
        }
        for parent in list {
            if let Some(slot) = highest.get_mut(*parent) {
                *slot = Some(slot.map_or(layer, |known| known.min(layer)));
            }
        }
    }
    for ((layer, child), list) in layers.iter_mut().zip(highest).zip(parents) {
        if let (Some(child), true) = (child, list.is_empty()) {
            *layer = child.saturating_sub(1);
        }
    }
    layers
}

/// Adds the edges, and places where long ones pass. The long edges of an entry share a trunk.
fn connect(cells: &mut Vec<Cell>, parents: &[Vec<usize>], layers: &[usize]) -> HashMap<usize, Vec<usize>> {
    let layer = |entry: usize| layers.get(entry).copied().unwrap_or_default();
    let mut lowest: Vec<usize> = layers.to_vec();
    for (entry, list) in parents.iter().enumerate() {
        for parent in list {
            if let Some(slot) = lowest.get_mut(*parent) {
                *slot = (*slot).max(layer(entry));
            }
        }
    }
    let passing: usize =
        lowest.iter().zip(layers).map(|(lowest, layer)| lowest.saturating_sub(layer + 1)).sum();
    let mut trunks = HashMap::new();
    if passing <= PASSING {
        for (entry, lowest) in lowest.iter().enumerate() {
            let mut trunk = Vec::new();
            let mut above = entry;
            for layer in layer(entry) + 1..*lowest {
                let passing = cells.len();
                cells.push(Cell { entry: None, layer, above: vec![], below: vec![], x: 0.0 });
                join(cells, above, passing);
                trunk.push(passing);
                above = passing;
            }
            if !trunk.is_empty() {
                trunks.insert(entry, trunk);
            }
        }
    }
    for (entry, list) in parents.iter().enumerate() {
        for parent in list {
            let between = layer(entry).saturating_sub(layer(*parent) + 1);
            let above = match between {
                0 => Some(*parent),
                some => trunks.get(parent).and_then(|trunk| trunk.get(some - 1)).copied(),
            };
            if let Some(above) = above {
                join(cells, above, entry);
            }
        }
    }
    trunks
}

fn join(cells: &mut [Cell], above: usize, below: usize) {
    if let Some(cell) = cells.get_mut(above) {
        cell.below.push(below);
    }
    if let Some(cell) = cells.get_mut(below) {
        cell.above.push(above);
    }
}

/// Orders each layer by the middles of its neighbours above and below, and keeps what crosses least.
fn order(cells: &[Cell], rows: &mut Vec<Vec<usize>>) {
    let mut places = vec![0.0_f64; cells.len()];
    for row in rows.iter() {
        number(row, &mut places);
    }
    let mut best = (crossings(cells, rows, &places), rows.clone());
    for sweep in 0..SWEEPS {
        if best.0 == 0 {
            break;
        }
        let down = sweep % 2 == 0;
        for step in 0..rows.len() {
            let at = if down { step } else { rows.len() - 1 - step };
            let Some(row) = rows.get_mut(at) else { continue };
            let middle = |index: &usize| {
                let cell = cells.get(*index)?;
                let neighbours = if down { &cell.above } else { &cell.below };
                mean(neighbours, &places)
            };
            let mut keyed: Vec<(f64, usize)> = row
                .iter()
                .map(|index| {
                    let own = places.get(*index).copied().unwrap_or_default();
                    (middle(index).unwrap_or(own), *index)
                })
                .collect();
            keyed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            *row = keyed.into_iter().map(|(_, index)| index).collect();
            number(row, &mut places);
        }
        let crossed = crossings(cells, rows, &places);
        if crossed < best.0 {
            best = (crossed, rows.clone());
        }
    }
    *rows = best.1;
}

fn number(row: &[usize], places: &mut [f64]) {
    // From the middle, so that rows of different lengths compare.
    let middle = (count(row.len()) - 1.0) / 2.0;
    for (place, index) in row.iter().enumerate() {
        if let Some(slot) = places.get_mut(*index) {
            *slot = count(place) - middle;
        }
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn mean(of: &[usize], places: &[f64]) -> Option<f64> {
    let sum: f64 = of.iter().filter_map(|index| places.get(*index)).sum();
    (!of.is_empty()).then(|| sum / count(of.len()))
}

/// How many pairs of edges cross: inversions, counted with a Fenwick tree.
fn crossings(cells: &[Cell], rows: &[Vec<usize>], places: &[f64]) -> usize {
    let mut total = 0;
    let place = |index: &usize| places.get(*index).copied().unwrap_or_default();
    let mut rank = vec![0_usize; cells.len()];
    for row in rows {
        for (at, index) in row.iter().enumerate() {
            if let Some(slot) = rank.get_mut(*index) {
                *slot = at;
            }
        }
    }
    for row in rows {
        let mut tree = vec![0_usize; row.len() + 1];
        let mut ends: Vec<(f64, usize)> = row
            .iter()
            .filter_map(|index| Some((index, cells.get(*index)?)))
            .flat_map(|(index, cell)| cell.above.iter().map(move |above| (above, index)))
            .map(|(above, index)| (place(above), rank.get(*index).copied().unwrap_or_default()))
            .collect();
        ends.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(x.cmp(y)));
        for (seen, (_, at)) in ends.iter().enumerate() {
            let mut before = 0;
            let mut node = at + 1;
            while node > 0 {
                before += tree.get(node).copied().unwrap_or_default();
                node &= node - 1;
            }
            total += seen - before;
            let mut node = at + 1;
            while let Some(slot) = tree.get_mut(node) {
                *slot += 1;
                node += node & node.wrapping_neg();
            }
        }
    }
    total
}

/// Gives each place its x: as near to its neighbours as its layer's order lets it.
fn place(cells: &mut [Cell], rows: &[Vec<usize>]) {
    let mut xs = vec![0.0_f64; cells.len()];
    for row in rows {
        settle(cells, row, &mut xs, &[]);
    }
    for sweep in 0..SWEEPS {
        for step in 0..rows.len() {
            let at = if sweep % 2 == 0 { step } else { rows.len() - 1 - step };
            let Some(row) = rows.get(at) else { continue };
            let (down, last) = (sweep % 2 == 0, sweep + 2 >= SWEEPS);
            let wanted = wanted(cells, row, &xs, down || last, !down || last);
            settle(cells, row, &mut xs, &wanted);
        }
    }
    for (cell, x) in cells.iter_mut().zip(xs) {
        cell.x = x;
    }
}

/// Where each place of a row wants to be: between its neighbours above, below, or both.
fn wanted(cells: &[Cell], row: &[usize], xs: &[f64], above: bool, below: bool) -> Vec<Option<f64>> {
    let of = |index: &usize| {
        let cell = cells.get(*index)?;
        let mut neighbours = Vec::new();
        if above {
            neighbours.extend_from_slice(&cell.above);
        }
        if below {
            neighbours.extend_from_slice(&cell.below);
        }
        mean(&neighbours, xs)
    };
    row.iter().map(of).collect()
}

/// A run of neighbours that touch and move together.
struct Run {
    /// Sum of where they want to be, less their distance from the first of the row.
    sum: f64,
    count: f64,
    places: usize,
}

/// The least squares under the least distances: isotonic regression, by pooling whoever would overlap.
fn settle(cells: &[Cell], row: &[usize], xs: &mut [f64], wanted: &[Option<f64>]) {
    let mut runs: Vec<Run> = Vec::new();
    let mut offsets = Vec::with_capacity(row.len());
    let (mut offset, mut before) = (0.0, None);
    for (place, index) in row.iter().enumerate() {
        let own = cells.get(*index).map_or(0.0, half);
        if let Some(before) = before {
            offset += before + GAP + own;
        }
        before = Some(own);
        offsets.push(offset);
        let now = xs.get(*index).copied().unwrap_or_default();
        let want = wanted.get(place).copied().flatten().unwrap_or(now);
        let mut run = Run { sum: want - offset, count: 1.0, places: 1 };
        while let Some(last) = runs.pop_if(|last| last.sum / last.count >= run.sum / run.count) {
            run = Run {
                sum: run.sum + last.sum,
                count: run.count + last.count,
                places: run.places + last.places,
            };
        }
        runs.push(run);
    }
    let starts = runs.iter().flat_map(|run| std::iter::repeat_n(run.sum / run.count, run.places));
    for ((index, offset), start) in row.iter().zip(offsets).zip(starts) {
        if let Some(slot) = xs.get_mut(*index) {
            *slot = start + offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(parents: &[&[usize]]) -> Layout {
        let parents: Vec<Vec<usize>> = parents.iter().map(|list| list.to_vec()).collect();
        let layout = lay_out(&parents);
        for (entry, list) in parents.iter().enumerate() {
            for parent in list {
                assert!(layout.places[*parent].1 < layout.places[entry].1, "{parent} is above {entry}");
            }
        }
        for (one, (x, y)) in layout.places.iter().enumerate() {
            assert!(*x >= WIDTH / 2.0 && x + WIDTH / 2.0 <= layout.width && y + HEIGHT <= layout.height);
            for (x2, y2) in &layout.places[one + 1..] {
                assert!(y != y2 || (x - x2).abs() >= WIDTH, "two entries overlap");
            }
        }
        layout
    }

    #[test]
    fn a_chain_is_straight() {
        let layout = laid(&[&[], &[0], &[1], &[2]]);
        assert!(layout.places.iter().all(|(x, _)| *x == layout.places[0].0));
        assert!(layout.trunks.is_empty());
    }

    #[test]
    fn a_fork_is_centred_over_what_joins_it() {
        let layout = laid(&[&[], &[0], &[0], &[2, 1]]);
        let x: Vec<f64> = layout.places.iter().map(|(x, _)| *x).collect();
        assert_eq!(x[0], x[3]);
        assert!((x[1] + x[2]).mul_add(-0.5, x[0]).abs() <= 1.0, "{x:?}");
    }

    #[test]
    fn a_root_stands_above_its_first_child() {
        let layout = laid(&[&[], &[0], &[1], &[], &[2, 3]]);
        assert_eq!(layout.layers, [0, 1, 2, 2, 3]);
    }

    #[test]
    fn a_long_edge_goes_round_what_is_between() {
        let layout = laid(&[&[], &[0], &[1], &[2, 0]]);
        let passes = layout.passes(0, 3);
        assert_eq!(passes.len(), 2);
        for ((x, y), entry) in passes.iter().zip([1, 2]) {
            assert_eq!(*y, layout.places[entry].1);
            assert!((x - layout.places[entry].0).abs() > WIDTH / 2.0, "it does not pass through an entry");
        }
        assert_eq!(layout.passes(0, 1), []);
    }

    #[test]
    fn needless_crossings_are_undone() {
        // Written down crosswise.
        let layout = laid(&[&[], &[], &[1], &[0]]);
        let x: Vec<f64> = layout.places.iter().map(|(x, _)| *x).collect();
        assert_eq!(x[0] < x[1], x[3] < x[2]);
    }

    #[test]
    fn large_and_odd_lineages_get_places_too() {
        assert_eq!(laid(&[]).places, []);
        assert_eq!(laid(&[&[], &[], &[]]).layers, [0, 0, 0]);
        // A chain in which every entry is a parent of the last: more long edges than are led round.
        let mut parents: Vec<Vec<usize>> =
            (0..600_usize).map(|i| i.checked_sub(1).into_iter().collect()).collect();
        parents.push((0..600).collect());
        let layout = lay_out(&parents);
        assert_eq!(layout.places.len(), 601);
        assert!(layout.trunks.is_empty());
        assert_eq!(lay_out(&parents).places, layout.places, "the same again");
    }
}
