package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// DeviceAdd plugs a device. The guest sees it when its system has noticed.
func DeviceAdd(ctx context.Context, e qmp.Executor, args DeviceAddArgs) error {
	return run(ctx, e, "device_add", args)
}

// DeviceDel asks the guest to let a device go, by its id or QOM path.
// [DeviceDeletedEvent] says that it is gone, [DeviceUnplugGuestErrorEvent] that the
// guest refuses.
func DeviceDel(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "device_del", idArgs{id})
}

// DeviceListProperties lists the properties of a kind of device.
func DeviceListProperties(ctx context.Context, e qmp.Executor, typename string) ([]ObjectPropertyInfo, error) {
	return qmp.Do[[]ObjectPropertyInfo](ctx, e, "device-list-properties", struct {
		Typename string `json:"typename"`
	}{typename})
}

// QOMGet returns a property of an object; T is what its type asks for, or any.
func QOMGet[T any](ctx context.Context, e qmp.Executor, path, property string) (T, error) {
	return qmp.Do[T](ctx, e, "qom-get", struct {
		Path     string `json:"path"`
		Property string `json:"property"`
	}{path, property})
}

// QOMSet sets a property of an object.
func QOMSet(ctx context.Context, e qmp.Executor, path, property string, value any) error {
	return run(ctx, e, "qom-set", struct {
		Path     string `json:"path"`
		Property string `json:"property"`
		Value    any    `json:"value"`
	}{path, property, value})
}

// QOMList lists the properties of an object; its children are properties, too.
func QOMList(ctx context.Context, e qmp.Executor, path string) ([]ObjectPropertyInfo, error) {
	return qmp.Do[[]ObjectPropertyInfo](ctx, e, "qom-list", struct {
		Path string `json:"path"`
	}{path})
}

// QOMListTypes lists the types of objects that implement a type, or all when it is empty,
// abstract ones only on demand.
func QOMListTypes(ctx context.Context, e qmp.Executor, implements string, abstract bool) ([]ObjectTypeInfo, error) {
	return qmp.Do[[]ObjectTypeInfo](ctx, e, "qom-list-types", struct {
		Implements string `json:"implements,omitempty"`
		Abstract   bool   `json:"abstract,omitempty"`
	}{implements, abstract})
}

// QOMListProperties lists the properties of a type of objects.
func QOMListProperties(ctx context.Context, e qmp.Executor, typename string) ([]ObjectPropertyInfo, error) {
	return qmp.Do[[]ObjectPropertyInfo](ctx, e, "qom-list-properties", struct {
		Typename string `json:"typename"`
	}{typename})
}

// ObjectAdd makes an object, such as a memory backend.
func ObjectAdd(ctx context.Context, e qmp.Executor, options ObjectOptions) error {
	return run(ctx, e, "object-add", options)
}

// ObjectDel removes an object that nothing uses.
func ObjectDel(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "object-del", idArgs{id})
}

// QueryACPIOSPMStatus lists what the guest did about plugged devices, by their places.
func QueryACPIOSPMStatus(ctx context.Context, e qmp.Executor) ([]ACPIOSTInfo, error) {
	return qmp.Do[[]ACPIOSTInfo](ctx, e, "query-acpi-ospm-status", nil)
}

// DeviceAddArgs are the arguments of device_add. The device's properties
// ([DeviceListProperties]) go to Props: for example "drive", "serial" and "bootindex"
// of virtio-blk-pci, "netdev" and "mac" of virtio-net-pci, "memdev" of pc-dimm,
// "addr" of each PCI device.
type DeviceAddArgs struct {
	Driver string         `json:"driver"`
	Bus    string         `json:"bus,omitempty"` // default: QEMU finds one
	ID     string         `json:"id,omitempty"`  // without one the device can't be named later
	Props  map[string]any `json:"-"`
}

type plainDeviceAddArgs DeviceAddArgs

// MarshalJSON implements json.Marshaler.
func (a DeviceAddArgs) MarshalJSON() ([]byte, error) {
	return marshalProps(plainDeviceAddArgs(a), a.Props)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *DeviceAddArgs) UnmarshalJSON(data []byte) error {
	return unmarshalProps(data, (*plainDeviceAddArgs)(a), &a.Props)
}

// ObjectOptions describes an object. What its type has (manual, ObjectOptions) goes to
// Props: for example "size", "share" and "mem-path" of memory backends, "filename" of
// rng-random, "poll-max-ns" of iothread, "data" and "file" of secret.
type ObjectOptions struct {
	QOMType string         `json:"qom-type"`
	ID      string         `json:"id"`
	Props   map[string]any `json:"-"`
}

type plainObjectOptions ObjectOptions

// MarshalJSON implements json.Marshaler.
func (o ObjectOptions) MarshalJSON() ([]byte, error) {
	return marshalProps(plainObjectOptions(o), o.Props)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *ObjectOptions) UnmarshalJSON(data []byte) error {
	return unmarshalProps(data, (*plainObjectOptions)(o), &o.Props)
}

// ObjectPropertyInfo is a property.
type ObjectPropertyInfo struct {
	Name         string `json:"name"`
	Type         string `json:"type"` // such as uint32, str, link<TYPE>, child<TYPE>
	Description  string `json:"description,omitempty"`
	DefaultValue any    `json:"default-value,omitempty"`
}

// ObjectTypeInfo is a type of objects.
type ObjectTypeInfo struct {
	Name     string `json:"name"`
	Abstract bool   `json:"abstract,omitempty"`
	Parent   string `json:"parent,omitempty"`
}
