//! The walk: passes over the type until nothing is left to learn, each pass one run of its `Deserialize`.
//!
//! Progress is certain. A pass that succeeds finishes at least one variant of an enum. A pass that fails changes a choice that
//! is never changed back: another sample for the last leaf that was read, or another variant where the walk only wants to
//! come to an end, or it gives a variant up. Each of these lists is finite; besides, there are bounds.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeOwned};

use super::probe::Probe;
use super::sample::Leaf;
use super::shape::{Body, Container, Kind, Node, Shapes, Slot, Variant};

const MAX_DEPTH: usize = 64;
const MAX_PASSES: usize = 2_000;
const MAX_STEPS: usize = 400_000;

/// Which type a container is, within this process: what its `Deserialize` is called for, and how it describes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) type_name: &'static str,
    pub(super) name: &'static str,
    pub(super) parts: &'static [&'static str],
}

/// Where a leaf is: the type that holds it, the variant, and its place among the leaves there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LeafPlace {
    holder: Holder,
    ordinal: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) type_name: &'static str,
    pub(super) variant: usize,
}

/// A variant that was chosen further up the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    /// To learn of it.
    Learn { container: usize, variant: usize },
    /// To come to an end, by any variant.
    End { identity: Identity, variants: usize },
}

#[derive(Debug)]
pub(super) struct Failed;

pub(super) struct Tracer {
    shapes: Shapes,
    index: HashMap<Identity, usize>,
    samples: HashMap<LeafPlace, usize>,
    endings: HashMap<Identity, usize>,
    pub(super) human_readable: bool,
    steps: usize,
    pass: Pass,
}

/// What is known within one pass.
struct Pass {
    depth: usize,
    choices: Vec<Choice>,
    holder: Holder,
    leaves: usize,
    /// How many enums were met that still have variants to visit.
    unfinished: usize,
    last_leaf: Option<(LeafPlace, Leaf)>,
    /// The choices that led to where the pass first failed.
    blamed: Option<Vec<Choice>>,
    /// It failed by itself, not for a sample.
    ended: bool,
}

impl Pass {
    fn new() -> Self {
        Self {
            depth: 0,
            choices: Vec::new(),
            holder: Holder { type_name: "", variant: 0 },
            leaves: 0,
            unfinished: 0,
            last_leaf: None,
            blamed: None,
            ended: false,
        }
    }
}

impl Tracer {
    pub(super) fn new(human_readable: bool) -> Self {
        Self {
            shapes: Shapes::new(),
            index: HashMap::new(),
            samples: HashMap::new(),
            endings: HashMap::new(),
            human_readable,
            steps: 0,
            pass: Pass::new(),
        }
    }

    pub(super) fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    pub(super) fn trace<T: DeserializeOwned>(&mut self) {
        for _ in 0..MAX_PASSES {
            self.pass = Pass::new();
            for container in &mut self.shapes.containers {
                container.open = false;
            }
            let outcome = T::deserialize(Probe { tracer: self, slot: Some(0) });
            let goes_on = match outcome {
                Ok(_) => self.pass.unfinished > 0,
                Err(Failed) => self.learn_from_failure(),
            };
            if !goes_on || self.steps > MAX_STEPS {
                return;
            }
        }
    }

    /// Changes one choice; `false` when there is none left to change.
    fn learn_from_failure(&mut self) -> bool {
        if let (false, Some((place, leaf))) = (self.pass.ended, self.pass.last_leaf) {
            let sample = self.samples.entry(place).or_default();
            if *sample + 1 < leaf.samples() {
                *sample += 1;
                return true;
            }
        }
        let choices = std::mem::take(&mut self.pass.choices);
        for choice in self.pass.blamed.take().unwrap_or(choices).into_iter().rev() {
            match choice {
                Choice::Learn { container, variant } => {
                    if let Kind::Enum(variants) = &mut self.shapes.containers[container].kind {
                        variants[variant].done = true;
                        return true;
                    }
                }
                Choice::End { identity, variants } => {
                    let ending = self.endings.entry(identity).or_default();
                    if *ending + 1 < variants {
                        *ending += 1;
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Runs the visit of a part one level down.
    pub(super) fn beneath<R>(
        &mut self,
        visit: impl FnOnce(&mut Self) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        self.steps += 1;
        if self.pass.depth >= MAX_DEPTH || self.steps > MAX_STEPS {
            self.pass.ended = true;
            self.blame();
            return Err(Failed);
        }
        self.pass.depth += 1;
        let choices = self.pass.choices.len();
        let result = visit(self);
        if result.is_err() {
            self.blame();
        }
        self.pass.choices.truncate(choices);
        self.pass.depth -= 1;
        result
    }

    fn blame(&mut self) {
        if self.pass.blamed.is_none() {
            self.pass.blamed = Some(self.pass.choices.clone());
        }
    }

    /// Notes a leaf, and tells which sample to answer with.
    pub(super) fn leaf(&mut self, slot: Option<Slot>, leaf: Leaf) -> usize {
        self.steps += 1;
        self.note(slot, Node::Leaf(leaf.name()));
        let place = LeafPlace { holder: self.pass.holder, ordinal: self.pass.leaves };
        self.pass.leaves += 1;
        self.pass.last_leaf = Some((place, leaf));
        let sample = self.samples.get(&place).copied().unwrap_or(0);
        sample.min(leaf.samples() - 1)
    }

    pub(super) fn note(&mut self, slot: Option<Slot>, node: Node) {
        if let Some(slot) = slot {
            self.shapes.nodes[slot] = node;
        }
    }

    /// The slot of the part inside a part, when its shape is to be noted.
    pub(super) fn option(&mut self, slot: Option<Slot>) -> Option<Slot> {
        self.one(slot, |node| if let Node::Option(inner) = node { Some(*inner) } else { None }, Node::Option)
    }

    pub(super) fn seq(&mut self, slot: Option<Slot>) -> Option<Slot> {
        self.one(slot, |node| if let Node::Seq(inner) = node { Some(*inner) } else { None }, Node::Seq)
    }

    fn one(
        &mut self,
        slot: Option<Slot>,
        known: fn(&Node) -> Option<Slot>,
        new: fn(Slot) -> Node,
    ) -> Option<Slot> {
        let slot = slot?;
        if let Some(inner) = known(&self.shapes.nodes[slot]) {
            return Some(inner);
        }
        let inner = self.shapes.slot();
        self.shapes.nodes[slot] = new(inner);
        Some(inner)
    }

    pub(super) fn map(&mut self, slot: Option<Slot>) -> Option<(Slot, Slot)> {
        let slot = slot?;
        if let Node::Map(key, value) = self.shapes.nodes[slot] {
            return Some((key, value));
        }
        let (key, value) = (self.shapes.slot(), self.shapes.slot());
        self.shapes.nodes[slot] = Node::Map(key, value);
        Some((key, value))
    }

    pub(super) fn tuple(&mut self, slot: Option<Slot>, len: usize) -> Option<Vec<Slot>> {
        let slot = slot?;
        match &self.shapes.nodes[slot] {
            Node::Tuple(elements) if elements.len() == len => return Some(elements.clone()),
            _ => {}
        }
        // An absurd length is cut off by the bound on steps when its elements are visited.
        let elements = self.shapes.slots(len.min(MAX_STEPS));
        self.shapes.nodes[slot] = Node::Tuple(elements.clone());
        Some(elements)
    }

    /// Visits a struct: `visit` gets its number when its shape is to be noted, and nothing when there is nothing to learn.
    pub(super) fn in_struct<R>(
        &mut self,
        slot: Option<Slot>,
        identity: Identity,
        visit: impl FnOnce(&mut Self, Option<usize>) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let number = self.container(slot, identity, || Kind::Struct(Body::Unseen));
        self.visiting(number, Holder { type_name: identity.type_name, variant: 0 }, |tracer| {
            visit(tracer, number)
        })
    }

    /// Visits an enum by one of its variants, as [`Tracer::in_struct`].
    pub(super) fn in_enum<R>(
        &mut self,
        slot: Option<Slot>,
        identity: Identity,
        visit: impl FnOnce(&mut Self, Option<usize>, usize) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let number = self.container(slot, identity, || {
            let variant = |&name| Variant { name, body: Body::Unseen, done: false };
            Kind::Enum(identity.parts.iter().map(variant).collect())
        });
        let ending = self.endings.get(&identity).copied().unwrap_or(0);
        let (choice, variant) = match number.and_then(|number| Some((number, self.next_variant(number)?))) {
            Some((container, variant)) => (Choice::Learn { container, variant }, variant),
            None => (Choice::End { identity, variants: identity.parts.len() }, ending),
        };
        self.pass.choices.push(choice);
        let before = self.pass.unfinished;
        let holder = Holder { type_name: identity.type_name, variant: variant + 1 };
        let value = self.visiting(number, holder, |tracer| visit(tracer, number, variant))?;
        self.pass.choices.pop();
        if let Some(number) = number {
            let learned = self.pass.unfinished == before;
            if let (true, Kind::Enum(variants)) = (learned, &mut self.shapes.containers[number].kind) {
                variants[variant].done = true;
            }
            if self.next_variant(number).is_some() {
                self.pass.unfinished += 1;
                self.shapes.containers[number].done = false;
            }
        }
        Ok(value)
    }

    fn next_variant(&self, container: usize) -> Option<usize> {
        match &self.shapes.containers[container].kind {
            Kind::Enum(variants) => variants.iter().position(|variant| !variant.done),
            Kind::Struct(_) => None,
        }
    }

    /// Registers a container; its number, unless it is known already or being visited further up: then there is nothing to
    /// learn here.
    fn container(
        &mut self,
        slot: Option<Slot>,
        identity: Identity,
        kind: impl FnOnce() -> Kind,
    ) -> Option<usize> {
        let slot = slot?;
        let number = *self.index.entry(identity).or_insert_with(|| {
            self.shapes.containers.push(Container {
                name: identity.name,
                kind: kind(),
                open: false,
                done: false,
            });
            self.shapes.containers.len() - 1
        });
        self.shapes.nodes[slot] = Node::Container(number);
        let container = &self.shapes.containers[number];
        (!container.open && !container.done).then_some(number)
    }

    fn visiting<R>(
        &mut self,
        number: Option<usize>,
        holder: Holder,
        visit: impl FnOnce(&mut Self) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let outer = (std::mem::replace(&mut self.pass.holder, holder), std::mem::take(&mut self.pass.leaves));
        let before = self.pass.unfinished;
        if let Some(number) = number {
            self.shapes.containers[number].open = true;
        }
        let result = visit(self);
        (self.pass.holder, self.pass.leaves) = outer;
        if let Some(number) = number {
            let container = &mut self.shapes.containers[number];
            container.open = false;
            container.done = result.is_ok() && self.pass.unfinished == before;
        }
        result
    }

    /// Notes what a struct (or the variant of an enum) consists of, once, and gives the slots of its parts.
    pub(super) fn body(&mut self, at: Option<(usize, usize)>, kind: BodyKind) -> Option<Vec<Slot>> {
        let (container, variant) = at?;
        let (count, fields) = match kind {
            BodyKind::Unit => (0, &[][..]),
            BodyKind::Newtype => (1, &[][..]),
            BodyKind::Tuple(len) => (len.min(MAX_STEPS), &[][..]),
            BodyKind::Struct(fields) => (fields.len(), fields),
        };
        let known = self.body_at(container, variant).and_then(|body| slots_of(body));
        if let Some(slots) = known.filter(|slots| slots.len() == count) {
            return Some(slots);
        }
        let slots = self.shapes.slots(count);
        let body = match kind {
            BodyKind::Unit => Body::Unit,
            BodyKind::Newtype => Body::Newtype(slots[0]),
            BodyKind::Tuple(_) => Body::Tuple(slots.clone()),
            BodyKind::Struct(_) => Body::Struct(fields.iter().copied().zip(slots.iter().copied()).collect()),
        };
        if let Some(place) = self.body_at(container, variant) {
            *place = body;
        }
        Some(slots)
    }

    fn body_at(&mut self, container: usize, variant: usize) -> Option<&mut Body> {
        match &mut self.shapes.containers[container].kind {
            Kind::Struct(body) => Some(body),
            Kind::Enum(variants) => variants.get_mut(variant).map(|variant| &mut variant.body),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum BodyKind {
    Unit,
    Newtype,
    Tuple(usize),
    Struct(&'static [&'static str]),
}

fn slots_of(body: &Body) -> Option<Vec<Slot>> {
    match body {
        Body::Unseen => None,
        Body::Unit => Some(Vec::new()),
        Body::Newtype(slot) => Some(vec![*slot]),
        Body::Tuple(slots) => Some(slots.clone()),
        Body::Struct(fields) => Some(fields.iter().map(|(_, slot)| *slot).collect()),
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not traceable")
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self
    }
}
