/// The accessors every middleware has, for a struct whose inner service is the field `inner`.
#[allow(unused_macros, reason = "without any layer feature there is nobody to use it")]
macro_rules! service_accessors {
    ($inner:ident) => {
        /// The service beneath.
        pub fn get_ref(&self) -> &$inner {
            &self.inner
        }

        /// The service beneath, to be changed.
        pub fn get_mut(&mut self) -> &mut $inner {
            &mut self.inner
        }

        /// The service beneath, without this layer.
        pub fn into_inner(self) -> $inner {
            self.inner
        }
    };
}
