package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryChardev lists the character devices.
func QueryChardev(ctx context.Context, e qmp.Executor) ([]ChardevInfo, error) {
	return qmp.Do[[]ChardevInfo](ctx, e, "query-chardev", nil)
}

// QueryChardevBackends lists the kinds of character devices of this QEMU.
func QueryChardevBackends(ctx context.Context, e qmp.Executor) ([]ChardevBackendInfo, error) {
	return qmp.Do[[]ChardevBackendInfo](ctx, e, "query-chardev-backends", nil)
}

// ChardevAdd makes a character device.
func ChardevAdd(ctx context.Context, e qmp.Executor, id string, backend ChardevBackend) (ChardevReturn, error) {
	return qmp.Do[ChardevReturn](ctx, e, "chardev-add", struct {
		ID      string         `json:"id"`
		Backend ChardevBackend `json:"backend"`
	}{id, backend})
}

// ChardevChange gives a character device another backend; its frontend must be able to.
func ChardevChange(ctx context.Context, e qmp.Executor, id string, backend ChardevBackend) (ChardevReturn, error) {
	return qmp.Do[ChardevReturn](ctx, e, "chardev-change", struct {
		ID      string         `json:"id"`
		Backend ChardevBackend `json:"backend"`
	}{id, backend})
}

// ChardevRemove removes a character device that nothing uses.
func ChardevRemove(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "chardev-remove", idArgs{id})
}

// ChardevSendBreak sends a break through a serial line.
func ChardevSendBreak(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "chardev-send-break", idArgs{id})
}

// RingbufRead takes up to size bytes out of a ring buffer. With an empty format they are
// text, in which what is no UTF-8 is replaced.
func RingbufRead(ctx context.Context, e qmp.Executor, device string, size int64, format DataFormat) (string, error) {
	return qmp.Do[string](ctx, e, "ringbuf-read", struct {
		Device string     `json:"device"`
		Size   int64      `json:"size"`
		Format DataFormat `json:"format,omitempty"`
	}{device, size, format})
}

// RingbufWrite puts data into a ring buffer, over the oldest when it is full. With an
// empty format data is text.
func RingbufWrite(ctx context.Context, e qmp.Executor, device, data string, format DataFormat) error {
	return run(ctx, e, "ringbuf-write", struct {
		Device string     `json:"device"`
		Data   string     `json:"data"`
		Format DataFormat `json:"format,omitempty"`
	}{device, data, format})
}

// ChardevInfo is a character device.
type ChardevInfo struct {
	Label        string `json:"label"`         // its id
	Filename     string `json:"filename"`      // what it is connected to, as QEMU describes it
	FrontendOpen bool   `json:"frontend-open"` // something in the guest has it open
}

// ChardevBackendInfo is a kind of character device.
type ChardevBackendInfo struct {
	Name string `json:"name"`
}

// ChardevReturn is the answer to chardev-add and chardev-change.
type ChardevReturn struct {
	Pty string `json:"pty,omitempty"` // its name, of a pty
}

// DataFormat is how bytes are written in JSON.
type DataFormat string

// Values of DataFormat.
const (
	DataFormatUtf8   DataFormat = "utf8"
	DataFormatBase64 DataFormat = "base64"
)
