//! Enums whose values have numbers in `include/bge.h` and in the bindings.

/// Defines an enum whose values have numbers, with the way back and a list of all values.
macro_rules! numbered {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident: $number:ty {
            $($(#[$variant_attribute:meta])* $variant:ident = $code:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[repr($number)]
        pub enum $name {
            $($(#[$variant_attribute])* $variant = $code,)+
        }

        impl $name {
            /// All values, by ascending number.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$variant),+];

            /// Its number in `include/bge.h`.
            pub const fn code(self) -> $number {
                self as $number
            }

            /// The value with this number in `include/bge.h`.
            pub fn from_code(code: $number) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.code() == code)
            }
        }
    };
}
pub(crate) use numbered;

#[cfg(test)]
mod tests {
    numbered! {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Fruit: u32 {
            Apple = 0,
            Pear = 7,
        }
    }

    #[test]
    fn numbers_lead_back_to_their_values() {
        assert_eq!(Fruit::ALL.map(Fruit::code), [0, 7]);
        assert_eq!(Fruit::from_code(7), Some(Fruit::Pear));
        assert_eq!(Fruit::from_code(1), None);
    }
}
