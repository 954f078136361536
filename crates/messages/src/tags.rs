//! Tagged fields that a schema does not know (KIP-482): kept, so that what is relayed is what
//! came.

use wire::{Bytes, DecodeError, Reader, Writer};

/// Unknown tagged fields in the order they came. Empty ones cost a pointer.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::box_collection)] // Almost always empty: 8 bytes a struct instead of 24.
pub struct UnknownTags(Option<Box<Vec<(u32, Bytes)>>>);

impl UnknownTags {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Tags with their bytes.
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_ref().map_or(&[], |list| list.as_slice())
    }

    /// The bytes of the first field with that tag.
    pub fn get(&self, tag: u32) -> Option<&Bytes> {
        self.as_slice().iter().find(|(known, _)| *known == tag).map(|(_, bytes)| bytes)
    }

    /// Adds a field that the schema does not know, behind those with lower tags: tags of our own
    /// (see [`crate::own`]).
    pub fn insert(&mut self, tag: u32, bytes: Bytes) {
        let list = self.0.get_or_insert_default();
        let at = list.partition_point(|(known, _)| *known <= tag);
        list.insert(at, (tag, bytes));
    }

    /// Reads a whole section of tagged fields of which none is known.
    pub(crate) fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let mut tags = Self::default();
        for _ in 0..r.uvarint()? {
            let tag = r.uvarint()?;
            let size = r.uvarint()? as usize;
            tags.push(tag, size, r)?;
        }
        Ok(tags)
    }

    /// Keeps one unknown field of `size` bytes.
    pub(crate) fn push(
        &mut self,
        tag: u32,
        size: usize,
        r: &mut Reader,
    ) -> Result<(), DecodeError> {
        r.charge(size_of::<(u32, Bytes)>())?;
        let bytes = r.take(size)?;
        self.0.get_or_insert_default().push((tag, bytes));
        Ok(())
    }

    /// Writes the whole section where no tag is known.
    pub(crate) fn encode(&self, w: &mut Writer) {
        w.uvarint(self.len() as u32);
        self.encode_below(u32::MAX, &mut 0, w);
    }

    /// Writes the fields from index `next` on whose tags are below `limit`; all that are left if
    /// it is `u32::MAX`, which is a tag itself and counted like any other.
    pub(crate) fn encode_below(&self, limit: u32, next: &mut usize, w: &mut Writer) {
        let below = |tag: u32| tag < limit || limit == u32::MAX;
        while let Some((tag, bytes)) = self.as_slice().get(*next).filter(|(tag, _)| below(*tag)) {
            w.uvarint(*tag);
            w.uvarint(bytes.len() as u32);
            w.shared(bytes);
            *next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_our_own_stand_behind_lower_tags_and_come_back() {
        let mut tags = UnknownTags::default();
        tags.insert(10_002, Bytes::from_static(b"later"));
        tags.insert(7, Bytes::from_static(b"x"));
        let mut writer = Writer::new();
        tags.encode(&mut writer);
        let read = UnknownTags::decode(&mut Reader::new(writer.finish().to_bytes())).unwrap();
        assert_eq!(read, tags);
        assert_eq!(read.as_slice()[0].0, 7);
        assert_eq!(read.get(10_002), Some(&Bytes::from_static(b"later")));
        assert_eq!(read.get(8), None);
    }

    #[test]
    fn the_largest_tag_is_kept() {
        // An empty NoOpRecord with the tag 2^32 - 1: its count was written, the field was not.
        let bytes = Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 2, b'x', b'y']);
        assert_eq!(crate::transcode("NoOpRecord", 0, bytes.clone()), Ok(bytes));
    }
}
