package qapi

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/qmp"
)

// Screendump writes a picture of a display to a file of the host.
func Screendump(ctx context.Context, e qmp.Executor, args ScreendumpArgs) error {
	return run(ctx, e, "screendump", args)
}

// InputSendEvent sends events of keyboard and mouse, as one batch, to the display that
// device and head say, or to whoever takes them when device is empty.
func InputSendEvent(ctx context.Context, e qmp.Executor, args InputSendEventArgs) error {
	return run(ctx, e, "input-send-event", args)
}

// SendKey presses keys one after the other and releases them in the opposite order.
// holdTime is in milliseconds; 0 is QEMU's default, 100.
func SendKey(ctx context.Context, e qmp.Executor, keys []KeyValue, holdTime int64) error {
	return run(ctx, e, "send-key", struct {
		Keys     []KeyValue `json:"keys"`
		HoldTime int64      `json:"hold-time,omitempty"`
	}{keys, holdTime})
}

// QueryMice lists the pointing devices.
func QueryMice(ctx context.Context, e qmp.Executor) ([]MouseInfo, error) {
	return qmp.Do[[]MouseInfo](ctx, e, "query-mice", nil)
}

// ScreendumpArgs are the arguments of screendump.
type ScreendumpArgs struct {
	Filename string      `json:"filename"`         // a file of the host, which is overwritten
	Device   string      `json:"device,omitempty"` // id of the display; default: the first
	Head     int64       `json:"head,omitempty"`   // of the display, with Device
	Format   ImageFormat `json:"format,omitempty"` // default: ppm
}

// ImageFormat is the format of a picture.
type ImageFormat string

// Values of ImageFormat.
const (
	ImageFormatPPM ImageFormat = "ppm"
	ImageFormatPNG ImageFormat = "png"
)

// InputSendEventArgs are the arguments of input-send-event.
type InputSendEventArgs struct {
	Device string       `json:"device,omitempty"` // id of the display
	Head   int64        `json:"head,omitempty"`   // of the display, with Device
	Events []InputEvent `json:"events"`
}

// InputEvent is one event. Data is what Type says: [InputKeyEvent], [InputBtnEvent],
// [InputMoveEvent] for rel and abs, [InputMultiTouchEvent]; or a json.RawMessage after
// unmarshalling another type.
type InputEvent struct {
	Type InputEventKind `json:"type"`
	Data any            `json:"data"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *InputEvent) UnmarshalJSON(data []byte) error {
	return unmarshalUnion(data, &i.Type, &i.Data, inputEventBranch)
}

func inputEventBranch(kind InputEventKind) any {
	switch kind {
	case InputEventKindKey:
		return new(InputKeyEvent)
	case InputEventKindBtn:
		return new(InputBtnEvent)
	case InputEventKindRel, InputEventKindAbs:
		return new(InputMoveEvent)
	case InputEventKindMTT:
		return new(InputMultiTouchEvent)
	}
	return nil
}

// InputEventKind is a kind of event.
type InputEventKind string

// Values of InputEventKind.
const (
	InputEventKindKey InputEventKind = "key"
	InputEventKindBtn InputEventKind = "btn"
	InputEventKindRel InputEventKind = "rel" // the mouse moves by
	InputEventKindAbs InputEventKind = "abs" // the pointer moves to
	InputEventKindMTT InputEventKind = "mtt" // a touch screen (QEMU 8.1)
)

// InputKeyEvent is a key that goes down or up.
type InputKeyEvent struct {
	Key  KeyValue `json:"key"`
	Down bool     `json:"down"`
}

// KeyValue is a key: by its QCode, or by its scan code in Number when QCode is empty.
type KeyValue struct {
	QCode  QKeyCode
	Number int64
}

// MarshalJSON implements json.Marshaler.
func (k KeyValue) MarshalJSON() ([]byte, error) {
	wire := struct {
		Type string `json:"type"`
		Data any    `json:"data"`
	}{"qcode", k.QCode}
	if k.QCode == "" {
		wire.Type, wire.Data = "number", k.Number
	}
	return json.Marshal(wire)
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *KeyValue) UnmarshalJSON(data []byte) error {
	var wire struct {
		Type string          `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*k = KeyValue{}
	if wire.Type == "number" {
		return json.Unmarshal(wire.Data, &k.Number)
	}
	return json.Unmarshal(wire.Data, &k.QCode)
}

// InputBtnEvent is a button that goes down or up. Turns of the wheel are buttons.
type InputBtnEvent struct {
	Button InputButton `json:"button"`
	Down   bool        `json:"down"`
}

// InputMoveEvent is a move on one axis.
type InputMoveEvent struct {
	Axis  InputAxis `json:"axis"`
	Value int64     `json:"value"` // steps to move by, or a place from 0 to 32767
}

// InputMultiTouchEvent is what a finger does.
type InputMultiTouchEvent struct {
	Type       InputMultiTouchType `json:"type"`
	Slot       int64               `json:"slot"` // which finger
	TrackingID int64               `json:"tracking-id"`
	Axis       InputAxis           `json:"axis"`
	Value      int64               `json:"value"`
}

// InputButton is a button of a pointing device.
type InputButton string

// Values of InputButton.
const (
	InputButtonLeft       InputButton = "left"
	InputButtonMiddle     InputButton = "middle"
	InputButtonRight      InputButton = "right"
	InputButtonWheelUp    InputButton = "wheel-up"
	InputButtonWheelDown  InputButton = "wheel-down"
	InputButtonSide       InputButton = "side"
	InputButtonExtra      InputButton = "extra"
	InputButtonWheelLeft  InputButton = "wheel-left"
	InputButtonWheelRight InputButton = "wheel-right"
	InputButtonTouch      InputButton = "touch" // QEMU 8.1
)

// InputAxis is an axis of a pointing device.
type InputAxis string

// Values of InputAxis.
const (
	InputAxisX InputAxis = "x"
	InputAxisY InputAxis = "y"
)

// InputMultiTouchType is what a finger does.
type InputMultiTouchType string

// Values of InputMultiTouchType.
const (
	InputMultiTouchTypeBegin  InputMultiTouchType = "begin"
	InputMultiTouchTypeUpdate InputMultiTouchType = "update"
	InputMultiTouchTypeEnd    InputMultiTouchType = "end"
	InputMultiTouchTypeCancel InputMultiTouchType = "cancel"
	InputMultiTouchTypeData   InputMultiTouchType = "data"
)

// MouseInfo is a pointing device.
type MouseInfo struct {
	Name     string `json:"name"`
	Index    int64  `json:"index"`
	Current  bool   `json:"current"`  // it gets the events
	Absolute bool   `json:"absolute"` // it takes places, not moves
}
