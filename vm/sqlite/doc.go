// Package sqlite keeps instances in an SQLite database, shared by any number of
// processes of one host.
//
// Beside the database PATH there are PATH-wal and PATH-shm, which belong to SQLite, and
// PATH.lock, an empty file by which processes agree on who sets the database up and
// tell each other about changes. Delete all four together, and only when no process
// uses them. The database must not be on a network file system.
//
// A change is durable against the end of any process; a host that loses power may
// lose the last changes, never the database ("PRAGMA synchronous", NORMAL with a
// write-ahead log).
//
// The package needs cgo. Without it, [Open] fails and says so.
package sqlite
