//! Maps by names that people choose. Their hash has a secret of the process, so that nobody can choose
//! many that collide, and is a fraction of the work of the standard one.

use std::collections::HashMap;

/// A map by a name.
pub type NameMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
