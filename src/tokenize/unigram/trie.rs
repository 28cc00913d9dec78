//! A trie: finds every entry of a vocabulary that is a prefix of a text.

use std::collections::TryReserveError;

use crate::tokenize::string_table::StringTable;

/// The ids of texts by their bytes. The children of a node are contiguous and sorted by byte, so
/// that the index of the first one is enough to find them, and each level of the trie is built in
/// one pass over the sorted texts.
pub(super) struct Trie {
    /// Level by level, the root first. One more node at the end closes the children of the last.
    nodes: Vec<Node>,
}

struct Node {
    first_child: u32,
    /// The id of the text that ends here, or [`NONE`].
    id: u32,
    /// The last byte of the prefix.
    byte: u8,
}

const NONE: u32 = u32::MAX;
/// From this many children on, they are searched by bisection.
const HALVED_FROM: usize = 8;

impl Trie {
    /// Of equal texts, the last one's id is found.
    pub fn new(texts: &StringTable) -> Result<Self, TryReserveError> {
        let order = sorted(texts)?;
        // Copied in that order, since they are read once for each level.
        let mut sorted = StringTable::default();
        for &id in &order {
            sorted.try_push(texts.get(id as usize).unwrap_or_default())?;
        }
        let bytes = |index: usize| sorted.get(index).unwrap_or_default().as_bytes();
        let mut nodes = Vec::new();
        // The texts below each node of a level.
        let mut level = vec![(0, 0..order.len())];
        let mut children = 1;
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for (byte, mut texts) in level {
                let mut node = Node { first_child: children, id: NONE, byte };
                while !texts.is_empty() && bytes(texts.start).len() == depth {
                    node.id = order[texts.start];
                    texts.start += 1;
                }
                nodes.try_reserve(1)?;
                nodes.push(node);
                while !texts.is_empty() {
                    let byte = bytes(texts.start)[depth];
                    let alike = texts.clone().take_while(|&i| bytes(i)[depth] == byte);
                    let end = texts.start + alike.count();
                    next.try_reserve(1)?;
                    next.push((byte, texts.start..end));
                    children += 1;
                    texts.start = end;
                }
            }
            level = next;
            depth += 1;
        }
        nodes.try_reserve_exact(1)?;
        nodes.push(Node { first_child: children, id: NONE, byte: 0 });
        Ok(Self { nodes })
    }

    /// The id of a text.
    pub fn get(&self, text: &str) -> Option<u32> {
        let node = text.bytes().try_fold(0, |node, byte| self.child(node, byte))?;
        self.id(node)
    }

    /// The ids of the texts that are prefixes of `bytes`, the shortest first, and their lengths.
    /// Not that of the empty text.
    pub fn prefixes_of(&self, bytes: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        let path = bytes.iter().scan(0, |node, &byte| {
            *node = self.child(*node, byte)?;
            Some(*node)
        });
        path.zip(1..).filter_map(|(node, length)| Some((length, self.id(node)?)))
    }

    fn id(&self, node: usize) -> Option<u32> {
        Some(self.nodes[node].id).filter(|&id| id != NONE)
    }

    fn child(&self, node: usize, byte: u8) -> Option<usize> {
        let begin = self.nodes[node].first_child as usize;
        let children = &self.nodes[begin..self.nodes[node + 1].first_child as usize];
        let at = match children.len() {
            ..HALVED_FROM => children.iter().position(|child| child.byte == byte)?,
            _ => children.binary_search_by_key(&byte, |child| child.byte).ok()?,
        };
        Some(begin + at)
    }
}

/// The indices of texts in the order of their bytes, equal ones in their own.
fn sorted(texts: &StringTable) -> Result<Vec<u32>, TryReserveError> {
    // Most differ in their first bytes, which this list keeps together.
    let first = |text: &[u8]| {
        let mut first = [0; 8];
        let length = text.len().min(first.len());
        first[..length].copy_from_slice(&text[..length]);
        u64::from_be_bytes(first)
    };
    let mut order: Vec<(u64, u32)> = Vec::new();
    order.try_reserve_exact(texts.len())?;
    order.extend((0..).zip(texts.iter()).map(|(index, text)| (first(text.as_bytes()), index)));
    order.sort_unstable_by(|a, b| {
        let whole = || texts.get(a.1 as usize).cmp(&texts.get(b.1 as usize));
        a.0.cmp(&b.0).then_with(whole).then(a.1.cmp(&b.1))
    });
    let mut indices = Vec::new();
    indices.try_reserve_exact(order.len())?;
    indices.extend(order.into_iter().map(|(_, index)| index));
    Ok(indices)
}
