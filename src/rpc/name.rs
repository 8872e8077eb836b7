//! Names and numbers of methods. The number travels; both ends derive it from the name.

/// A method's number on the wire.
pub type MethodId = u32;

/// The number of method `name`, written `"Service/Method"`: 32-bit FNV-1a of its UTF-8 bytes. Stable
/// for ever: it is part of the wire. Two names of one router that collide are found when they are
/// registered.
#[must_use]
pub const fn method_id(name: &str) -> MethodId {
    let bytes = name.as_bytes();
    let (mut hash, mut i) = (OFFSET_BASIS, 0);
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(PRIME);
        i += 1;
    }
    hash
}

/// The 32-bit offset basis and prime that Fowler, Noll and Vo published.
const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones_of_fnv_1a() {
        assert_eq!(method_id(""), 0x811c_9dc5);
        assert_eq!(method_id("a"), 0xe40c_292c);
        assert_eq!(method_id("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn a_number_is_a_constant_and_differs_by_service_and_method() {
        const GET: MethodId = method_id("Store/Get");
        assert_ne!(GET, method_id("Store/Put"));
        assert_ne!(GET, method_id("Cache/Get"));
    }
}
