//! Ids of tasks carry their server's prefix, as names of tools do: two servers may give out the same
//! one, and a task of one customer must never be taken for another's.

use memchr::memmem;

use super::message::{json, push_changed};
use super::names::Names;
use crate::protocol::object::{Object, items, string};
use crate::protocol::to_server::{push_member, push_name, push_object};

const TASK_IDS: &str = "taskIds";
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// A message of one life of a server with its task ids as clients know them; `None` if it has none.
pub(super) fn for_client(
    message: &[u8],
    names: &Names,
    server: usize,
    life: u64,
) -> Option<Vec<u8>> {
    changed(message, &|id| Some(names.full(server, &lived(id, life))))
}

/// A task's id with the life of the server that it belongs to: in another life the same id may be
/// another customer's.
fn lived(id: &str, life: u64) -> String {
    if life == 0 { id.to_owned() } else { format!("{life:016x}.{id}") }
}

/// The server that a task belongs to, if this life of it is the one that `life_of` tells.
pub(super) fn owner(
    id: &str,
    names: &Names,
    life_of: impl Fn(usize) -> Option<u64>,
) -> Option<(usize, u64)> {
    let (server, own) = names.owner(id)?;
    let life = life_of(server)?;
    (life == 0 || own.starts_with(&lived("", life))).then_some((server, life))
}

/// A message of a client with its task ids as the server knows them; `None` if it has none.
pub(super) fn for_server(
    message: &[u8],
    names: &Names,
    server: usize,
    life: u64,
) -> Option<Vec<u8>> {
    changed(message, &|id| own_id(id, names, server, life).map(str::to_owned))
}

/// What a server calls a task in one life of it; `None` if the task is not of that.
fn own_id<'a>(id: &'a str, names: &Names, server: usize, life: u64) -> Option<&'a str> {
    let (owner, own) = names.owner(id)?;
    let own = if life == 0 { Some(own) } else { own.strip_prefix(&lived("", life)) };
    own.filter(|_| owner == server)
}

/// A filter of notifications with the ids of the server's own tasks, as it knows them; `None` if it
/// names no tasks.
pub(super) fn of_server(
    filter: Object<'_>,
    names: &Names,
    server: usize,
    life: u64,
) -> Option<String> {
    let own = |id: &str| own_id(&string(id)?, names, server, life).map(json);
    let ids = items(filter.get(TASK_IDS)?).unwrap_or_default();
    let ids: Vec<String> = ids.into_iter().filter_map(own).collect();
    let ids = (!ids.is_empty()).then(|| format!("[{}]", ids.join(",")));
    let mut text = Vec::new();
    push_object(&mut text, filter.with(TASK_IDS, ids.as_deref()).members(), push_member);
    String::from_utf8(text).ok()
}

/// `result` and `params` are where tasks are spoken of: by `taskId`, in a `task`, in `tasks`, and
/// in `_meta` as the related one.
fn changed(line: &[u8], change: &dyn Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let may_have = |name: &[u8]| memmem::find(line, name).is_some();
    if !may_have(b"taskId") && !may_have(b"\\u") {
        return None;
    }
    let top = Object::read(std::str::from_utf8(line).ok()?).ok()?;
    let mut text = Vec::with_capacity(line.len() + 32);
    let mut any = false;
    push_changed(&mut text, &top, |text, member| match Object::read(member.value) {
        Ok(inner) if matches!(&*member.name, "result" | "params") => {
            push_name(text, member);
            any |= push_task(text, &inner, change);
            true
        }
        _ => false,
    });
    any.then_some(text)
}

fn push_task(
    text: &mut Vec<u8>,
    object: &Object<'_>,
    change: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let mut any = false;
    push_changed(text, object, |text, member| match member.name.as_ref() {
        "taskId" => {
            let Some(id) = string(member.value).and_then(|id| change(&id)) else { return false };
            push_name(text, member);
            text.extend_from_slice(json(&id).as_bytes());
            any = true;
            true
        }
        "task" | "_meta" | RELATED_TASK => {
            let Ok(inner) = Object::read(member.value) else { return false };
            push_name(text, member);
            any |= push_task(text, &inner, change);
            true
        }
        "tasks" => {
            let Some(tasks) = items(member.value) else { return false };
            push_name(text, member);
            text.push(b'[');
            for (index, task) in tasks.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                match Object::read(task) {
                    Ok(inner) => any |= push_task(text, &inner, change),
                    Err(_) => text.extend_from_slice(task.as_bytes()),
                }
            }
            text.push(b']');
            true
        }
        _ => false,
    });
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_each_server_its_own_tasks() {
        let names = Names::new(":", ["a", "b"]);
        let of = |filter, server| of_server(Object::read(filter).unwrap(), &names, server, 0);
        let filter = r#"{"x":1.0,"taskIds":["b:1","a:1","b:2",3,"c:1"]}"#;
        assert_eq!(of(filter, 0).as_deref(), Some(r#"{"x":1.0,"taskIds":["1"]}"#));
        assert_eq!(of(filter, 1).as_deref(), Some(r#"{"x":1.0,"taskIds":["1","2"]}"#));
        assert_eq!(of(r#"{"taskIds":["a:1"],"x":1.0}"#, 1).as_deref(), Some(r#"{"x":1.0}"#));
        assert_eq!(of(r#"{"x":1.0}"#, 0), None);
    }

    #[test]
    fn ids_of_tasks_change_where_tasks_are_spoken_of() {
        let names = Names::new(":", ["a", "b"]);
        for (server_says, client_hears) in [
            (
                r#"{"id":1,"result":{"taskId":"1","x":1.0}}"#,
                r#"{"id":1,"result":{"taskId":"b:1","x":1.0}}"#,
            ),
            (r#"{"result":{"task":{"taskId":"1"}}}"#, r#"{"result":{"task":{"taskId":"b:1"}}}"#),
            (
                r#"{"result":{"tasks":[{"taskId":"1"},{"taskId":"2"},3]}}"#,
                r#"{"result":{"tasks":[{"taskId":"b:1"},{"taskId":"b:2"},3]}}"#,
            ),
            (
                r#"{"params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"1"}}}}"#,
                r#"{"params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"b:1"}}}}"#,
            ),
        ] {
            let heard = for_client(server_says.as_bytes(), &names, 1, 0).unwrap();
            assert_eq!(String::from_utf8(heard).unwrap(), client_hears);
            let said = for_server(client_hears.as_bytes(), &names, 1, 0).unwrap();
            assert_eq!(String::from_utf8(said).unwrap(), server_says);
            assert_eq!(for_server(client_hears.as_bytes(), &names, 0, 0), None);
        }
        let other = br#"{"taskId":"1","result":{"structuredContent":{"taskId":"1"}}}"#;
        assert_eq!(for_client(other, &names, 1, 0), None);
    }

    #[test]
    fn a_task_belongs_to_one_life_of_its_server() {
        let names = Names::new(":", ["a", "b"]);
        let said = br#"{"result":{"taskId":"1"}}"#;
        let heard = for_client(said, &names, 1, 0xab).unwrap();
        assert_eq!(heard, br#"{"result":{"taskId":"b:00000000000000ab.1"}}"#);
        assert_eq!(for_server(&heard, &names, 1, 0xab).unwrap(), said);
        assert_eq!(for_server(&heard, &names, 1, 0xac), None);
        let owner_in = |life| owner("b:00000000000000ab.1", &names, |_| life);
        assert_eq!(owner_in(Some(0xab)), Some((1, 0xab)));
        assert_eq!((owner_in(Some(0xac)), owner_in(None)), (None, None));
    }
}
