package qmp

import (
	"context"
	"slices"
	"sync"

	"github.com/maqet/maqet/errors"
)

// identified is a Conn that knows which QEMU it talks to; see [WithBinary].
type identified interface{ Binary() string }

// Schema returns the schema of the QEMU that runs the VM called ref. It is read once
// for each binary, as far as the connection knows its binary, else once for each
// connection.
func (m *Manager) Schema(ctx context.Context, ref string) (*Schema, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	same := *m // what is kept is this connection's, also if the VM is started anew meanwhile
	same.find = oneConn{conn}
	s, err := m.schemas.get(ctx, conn, func() (*Schema, error) { return ReadSchema(ctx, same.On(ref)) })
	return s, onVM(err, m.label(ref))
}

// oneConn finds one connection, whatever is asked for.
type oneConn struct{ conn Conn }

func (f oneConn) QMP(context.Context, string) (Conn, error) { return f.conn, nil }

// Supports reports whether the QEMU of the VM called ref has a command that takes the
// arguments; [Schema.Supports] says how they are written.
func (m *Manager) Supports(ctx context.Context, ref, command string, arguments ...string) (bool, error) {
	s, err := m.Schema(ctx, ref)
	return err == nil && s.Supports(command, arguments...), err
}

// schemaCache keeps what was read: by binary for ever (a host has few), by connection as
// long as that lasts.
type schemaCache struct {
	mu       sync.Mutex
	reading  map[any]chan struct{} // by binary, else connection: closed when who reads is done
	byBinary map[string]*Schema
	byConn   []connSchema
}

type connSchema struct {
	conn   Conn
	schema *Schema
}

func newSchemaCache() *schemaCache {
	return &schemaCache{reading: map[any]chan struct{}{}, byBinary: map[string]*Schema{}}
}

func (c *schemaCache) get(ctx context.Context, conn Conn, read func() (*Schema, error)) (*Schema, error) {
	var key any = conn
	if name := binaryOf(conn); name != "" {
		key = name
	}
	done := make(chan struct{})
	for {
		s, other := c.begin(conn, key, done)
		if s != nil {
			return s, nil
		}
		if other == nil {
			break
		}
		select { // learns from it, or reads itself
		case <-other:
		case <-ctx.Done():
			return nil, errors.Wrap(errors.ErrQMPTimeout, "QMP query-qmp-schema", "", context.Cause(ctx))
		}
	}
	defer func() {
		c.mu.Lock()
		delete(c.reading, key)
		c.mu.Unlock()
		close(done)
	}()
	s, err := read()
	if err == nil {
		c.keep(conn, s)
	}
	return s, err
}

func binaryOf(conn Conn) string {
	if b, ok := conn.(identified); ok {
		return b.Binary()
	}
	return ""
}

// begin returns what is known, or who is reading it, or neither: then the caller reads.
func (c *schemaCache) begin(conn Conn, key any, done chan struct{}) (s *Schema, other <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.known(conn); s != nil {
		return s, nil
	}
	if other, ok := c.reading[key]; ok {
		return nil, other
	}
	c.reading[key] = done
	return nil, nil
}

// known returns what was kept. The caller holds mu.
func (c *schemaCache) known(conn Conn) *Schema {
	if name := binaryOf(conn); name != "" {
		return c.byBinary[name]
	}
	for _, have := range c.byConn {
		if have.conn == conn {
			return have.schema
		}
	}
	return nil
}

func (c *schemaCache) keep(conn Conn, s *Schema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := binaryOf(conn); name != "" {
		c.byBinary[name] = s
		return
	}
	c.byConn = slices.DeleteFunc(c.byConn, func(have connSchema) bool { return have.conn.Err() != nil })
	c.byConn = append(c.byConn, connSchema{conn, s})
}
