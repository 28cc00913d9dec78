//! The file of `bge evaluate`: rows of named columns, which tell by their names what is evaluated.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Failure;

/// What a file holds; texts are numbers of [`Texts`].
pub(super) enum Dataset {
    /// Anchor, positive and negative.
    Triplets(Vec<[usize; 3]>),
    /// Two sentences, and the grade that people gave them.
    Pairs(Vec<[usize; 2]>, Vec<f64>),
    Retrieval(Questions),
}

/// Queries that have relevant passages, and the passages of all rows.
#[derive(Default)]
pub(super) struct Questions {
    pub queries: Vec<usize>,
    pub passages: Vec<usize>,
    /// For each query, places in `passages`.
    pub relevant: Vec<Vec<usize>>,
}

/// What is looked for in front of a text: queries and anchors may have a prompt of their own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Query,
    Other,
}

/// The different texts of a file: each is encoded once, so that equal texts have equal scores.
#[derive(Default)]
pub(super) struct Texts {
    pub all: Vec<(Role, String)>,
    places: HashMap<(Role, String), usize>,
}

impl Texts {
    fn place(&mut self, role: Role, text: &str) -> usize {
        let key = (role, text.to_string());
        *self.places.entry(key).or_insert_with_key(|key| {
            self.all.push(key.clone());
            self.all.len() - 1
        })
    }
}

const TRIPLETS: [&str; 3] = ["anchor", "positive", "negative"];
const PAIRS: [&str; 3] = ["sentence1", "sentence2", "score"];
const RETRIEVAL: [&str; 2] = ["query", "passage"];
const RELEVANCE: &str = "relevance";

const EXPECTED: &str = "expected anchor, positive and negative, for triplets; sentence1, sentence2 \
    and score, for graded pairs; or query and passage, with or without relevance, for retrieval. \
    --column NAME=THEIRS tells which column has another name";

/// `NAME=THEIRS`: what a column is, and how the file calls it.
pub(super) fn renamed(text: &str) -> Result<(String, String), String> {
    let known = [&TRIPLETS[..], &PAIRS, &RETRIEVAL, &[RELEVANCE]].concat();
    match text.split_once('=') {
        Some((name, theirs)) if known.contains(&name) => Ok((name.into(), theirs.into())),
        _ => Err(format!("it takes NAME=THEIRS, where NAME is one of {}", known.join(", "))),
    }
}

/// `query_role`: that of anchors and queries.
pub(super) fn read(
    file: &Path,
    names: &[(String, String)],
    query_role: Role,
) -> Result<(Dataset, Texts), Failure> {
    let fault = |what: String| Failure::Input(format!("{} {what}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        fault(format!("is not UTF-8 in line {line}"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let rows = match ending {
        // As files of sentences are: a quotation mark is a character like any other.
        "tsv" => separated(text, b'\t', false),
        "csv" => separated(text, b',', true),
        "jsonl" => objects(text),
        _ => Err("has to end in .tsv, .csv or .jsonl, to tell what it is".into()),
    };
    let rows = rows.map_err(&fault)?;
    let Some(first) = rows.first() else {
        return Err(fault(format!("has no rows: {EXPECTED}")));
    };
    let theirs = |name: &str| {
        names.iter().find(|(ours, _)| ours == name).map_or(name.to_string(), |(_, it)| it.clone())
    };
    let has = |name: &&str| first.cells.contains_key(&theirs(name));
    let mut texts = Texts::default();
    let rows = Named { rows: &rows, theirs: &theirs, query_role };
    let dataset = if TRIPLETS.iter().all(|name| has(&name)) {
        rows.triplets(&mut texts)
    } else if PAIRS.iter().all(|name| has(&name)) {
        rows.pairs(&mut texts)
    } else if RETRIEVAL.iter().all(|name| has(&name)) {
        rows.retrieval(&mut texts, has(&RELEVANCE))
    } else {
        let found: Vec<&str> = first.cells.keys().map(String::as_str).collect();
        Err(format!("has the columns {}: {EXPECTED}", found.join(", ")))
    };
    Ok((dataset.map_err(fault)?, texts))
}

struct Row {
    line: u64,
    cells: Map<String, Value>,
}

fn separated(text: &str, delimiter: u8, quoting: bool) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(quoting)
        .flexible(true)
        .from_reader(text.as_bytes());
    let columns = reader.headers().map_err(|e| format!("cannot be read: {e}"))?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| format!("cannot be read: {e}"))?;
        let line = record.position().map_or(0, |position| position.line());
        if record.len() > columns.len() {
            return Err(format!(
                "has {} fields in line {line}, and the first line {}",
                record.len(),
                columns.len()
            ));
        }
        let cells = columns.iter().zip(&record).map(|(name, cell)| (name.into(), cell.into()));
        rows.push(Row { line, cells: cells.collect() });
    }
    Ok(rows)
}

fn objects(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let cells = serde_json::from_str(line)
            .map_err(|e| format!("has no JSON object in line {}: {e}", index + 1))?;
        rows.push(Row { line: index as u64 + 1, cells });
    }
    Ok(rows)
}

/// Rows, and how the file calls a column.
struct Named<'a, F> {
    rows: &'a [Row],
    theirs: &'a F,
    query_role: Role,
}

impl<F: Fn(&str) -> String> Named<'_, F> {
    fn cell<'a>(&self, row: &'a Row, name: &str) -> Result<&'a Value, String> {
        let theirs = (self.theirs)(name);
        row.cells.get(&theirs).ok_or_else(|| format!("has no {theirs} in line {}", row.line))
    }

    fn text<'a>(&self, row: &'a Row, name: &str) -> Result<&'a str, String> {
        let (theirs, line) = ((self.theirs)(name), row.line);
        match self.cell(row, name)? {
            Value::String(text) if text.trim().is_empty() => {
                Err(format!("has an empty {theirs} in line {line}; it takes a text"))
            }
            Value::String(text) => Ok(text),
            other => Err(format!("has a {theirs} in line {line} that is {other}, not a text")),
        }
    }

    fn number(&self, row: &Row, name: &str) -> Result<f64, String> {
        let cell = self.cell(row, name)?;
        let number = match cell {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        number.filter(|number: &f64| number.is_finite()).ok_or_else(|| {
            let theirs = (self.theirs)(name);
            format!("has a {theirs} in line {} that is {cell}, not a finite number", row.line)
        })
    }

    fn triplets(&self, texts: &mut Texts) -> Result<Dataset, String> {
        let triplet = |row| {
            Ok([
                texts.place(self.query_role, self.text(row, TRIPLETS[0])?),
                texts.place(Role::Other, self.text(row, TRIPLETS[1])?),
                texts.place(Role::Other, self.text(row, TRIPLETS[2])?),
            ])
        };
        self.rows.iter().map(triplet).collect::<Result<_, String>>().map(Dataset::Triplets)
    }

    fn pairs(&self, texts: &mut Texts) -> Result<Dataset, String> {
        let (mut pairs, mut grades) = (Vec::new(), Vec::new());
        for row in self.rows {
            pairs.push([
                texts.place(Role::Other, self.text(row, PAIRS[0])?),
                texts.place(Role::Other, self.text(row, PAIRS[1])?),
            ]);
            grades.push(self.number(row, PAIRS[2])?);
        }
        if grades.iter().all(|grade| *grade == grades[0]) {
            return Err(format!(
                "has the {} {} in every row; a correlation takes two different ones at least",
                (self.theirs)(PAIRS[2]),
                grades[0]
            ));
        }
        Ok(Dataset::Pairs(pairs, grades))
    }

    fn retrieval(&self, texts: &mut Texts, graded: bool) -> Result<Dataset, String> {
        let mut all = Questions::default();
        let (mut queries, mut passages) = (HashMap::new(), HashMap::new());
        for row in self.rows {
            let query = texts.place(self.query_role, self.text(row, RETRIEVAL[0])?);
            let passage = texts.place(Role::Other, self.text(row, RETRIEVAL[1])?);
            let place = *passages.entry(passage).or_insert(all.passages.len());
            if place == all.passages.len() {
                all.passages.push(passage);
            }
            // Without the column, every row is of a passage that answers its query.
            if graded && self.number(row, RELEVANCE)? <= 0.0 {
                continue;
            }
            let query_place = *queries.entry(query).or_insert(all.queries.len());
            if query_place == all.queries.len() {
                all.queries.push(query);
                all.relevant.push(Vec::new());
            }
            if !all.relevant[query_place].contains(&place) {
                all.relevant[query_place].push(place);
            }
        }
        if all.queries.is_empty() {
            let theirs = (self.theirs)(RELEVANCE);
            return Err(format!("has no row with a {theirs} above 0, so no query has an answer"));
        }
        Ok(Dataset::Retrieval(all))
    }
}
