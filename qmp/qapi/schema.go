package qapi

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/qmp"
)

// QueryQMPSchema describes all commands, events and types of this QEMU: about 200 KB.
func QueryQMPSchema(ctx context.Context, e qmp.Executor) ([]SchemaInfo, error) {
	return qmp.Do[[]SchemaInfo](ctx, e, "query-qmp-schema", nil)
}

// SchemaInfo describes one command, event or type. Which of the members have a meaning
// depends on MetaType. Types have names without a meaning, except for the builtin ones.
type SchemaInfo struct {
	Name        string                    `json:"name"`
	MetaType    SchemaMetaType            `json:"meta-type"`
	Features    []string                  `json:"features,omitempty"`
	JSONType    JSONType                  `json:"json-type,omitempty"`    // of builtin
	Values      []string                  `json:"values,omitempty"`       // of enum; Members has them with their features
	ElementType string                    `json:"element-type,omitempty"` // of array: name of a type
	Tag         string                    `json:"tag,omitempty"`          // of object: the member that selects a variant
	Variants    []SchemaInfoObjectVariant `json:"variants,omitempty"`     // of object
	ArgType     string                    `json:"arg-type,omitempty"`     // of command and event: name of a type
	RetType     string                    `json:"ret-type,omitempty"`     // of command: name of a type
	AllowOOB    bool                      `json:"allow-oob,omitempty"`    // of command: it can run out of band
	Members     []SchemaInfoMember        `json:"members,omitempty"`      // of enum, object and alternate
}

// SchemaInfoMember is a value of an enum, a member of an object or a branch of an
// alternate.
type SchemaInfoMember struct {
	Name string `json:"name,omitempty"` // of enum and object
	Type string `json:"type,omitempty"` // of object and alternate: name of a type
	// Default is nil where the member of an object is needed; today it is null
	// elsewhere.
	Default  json.RawMessage `json:"default,omitempty"`
	Features []string        `json:"features,omitempty"`
}

// SchemaInfoObjectVariant is what an object has besides when its tag has a value.
type SchemaInfoObjectVariant struct {
	Case string `json:"case"`
	Type string `json:"type"` // name of a type
}

// SchemaMetaType is what a [SchemaInfo] describes.
type SchemaMetaType string

// Values of SchemaMetaType.
const (
	SchemaMetaTypeBuiltin   SchemaMetaType = "builtin"
	SchemaMetaTypeEnum      SchemaMetaType = "enum"
	SchemaMetaTypeArray     SchemaMetaType = "array"     // a list
	SchemaMetaTypeObject    SchemaMetaType = "object"    // a struct or a union
	SchemaMetaTypeAlternate SchemaMetaType = "alternate" // a value of one of several types
	SchemaMetaTypeCommand   SchemaMetaType = "command"
	SchemaMetaTypeEvent     SchemaMetaType = "event"
)

// JSONType is a type of JSON values.
type JSONType string

// Values of JSONType.
const (
	JSONTypeString  JSONType = "string"
	JSONTypeNumber  JSONType = "number"
	JSONTypeInt     JSONType = "int" // a number without a fraction
	JSONTypeBoolean JSONType = "boolean"
	JSONTypeNull    JSONType = "null"
	JSONTypeObject  JSONType = "object"
	JSONTypeArray   JSONType = "array"
	JSONTypeValue   JSONType = "value" // any
)
