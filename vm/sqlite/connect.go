//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"strconv"
	"time"

	"github.com/mattn/go-sqlite3"
)

const (
	// busySlice is how long SQLite itself waits for a lock. Its wait can't be
	// interrupted, so it is short, and repeated while the caller's context lasts.
	busySlice = 25 * time.Millisecond
	// walLimit is what the write-ahead log is cut down to after a checkpoint. Without a
	// limit it stays at the largest size it ever had.
	walLimit = 4 << 20
	// readers is how many reads of this process run at once; watching for changes takes
	// one of them.
	readers = 5
	// statements is how many prepared statements a connection keeps, more than there
	// are in this package.
	statements = 16
)

// openWriter returns the handle for changes. Its transactions take the write lock
// when they begin: one that reads first and then finds its snapshot outdated would
// fail at once, whatever the time-out.
func openWriter(path string) *sql.DB {
	db := sql.OpenDB(&connector{
		dsn: dsn(path, url.Values{"_txlock": {"immediate"}, "_synchronous": {"NORMAL"}}),
		driver: &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
			_, err := c.Exec("PRAGMA journal_size_limit = "+strconv.Itoa(walLimit), nil)
			return err
		}},
	})
	db.SetMaxOpenConns(1)
	return db
}

// openReader returns the handle for reads, which in WAL mode wait for nobody.
func openReader(path string) *sql.DB {
	db := sql.OpenDB(&connector{dsn: dsn(path, url.Values{"_query_only": {"true"}}), driver: &sqlite3.SQLiteDriver{}})
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db
}

// dsn returns the address of the database in the form of a URI, in which no character
// of the path can be taken for a parameter. The driver ignores what it does not know:
// each parameter here is proven by a test.
func dsn(path string, params url.Values) string {
	params.Set("mode", "rw") // never make a file: that is createFile's work
	params.Set("_busy_timeout", strconv.FormatInt(busySlice.Milliseconds(), 10))
	params.Set("_stmt_cache_size", strconv.Itoa(statements))
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}).String()
}

// connector opens connections without a driver registered under a global name.
type connector struct {
	dsn    string
	driver *sqlite3.SQLiteDriver
}

// Connect opens a connection; it does not wait for locks.
func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver returns the driver.
func (c *connector) Driver() driver.Driver { return c.driver }
