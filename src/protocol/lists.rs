//! The lists of a server that may change while somebody knows them.

/// One such list.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The capability of a server that has it.
    pub capability: &'static str,
    /// The notification that says that it has changed.
    pub change: &'static str,
    /// The member of a modern client's filter that asks for that notification.
    pub filter: &'static str,
}

/// All of them.
pub const LISTS: [List; 3] = [
    List {
        capability: "tools",
        change: "notifications/tools/list_changed",
        filter: "toolsListChanged",
    },
    List {
        capability: "resources",
        change: "notifications/resources/list_changed",
        filter: "resourcesListChanged",
    },
    List {
        capability: "prompts",
        change: "notifications/prompts/list_changed",
        filter: "promptsListChanged",
    },
];
