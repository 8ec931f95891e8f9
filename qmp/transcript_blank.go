package qmp

import (
	"bytes"
	"encoding/json"
	"strings"
)

// blanked is what stands for a secret.
const blanked = "***"

// secretArguments lists the arguments that are secrets, by command. What a person types can
// be a password, so keys count as secrets, too.
var secretArguments = map[string][]string{
	hmpCommand:                 {"command-line"},
	"input-send-event":         {"events"},
	"send-key":                 {"keys"},
	"set_password":             {"password"},
	"change-vnc-password":      {"password"},
	"sev-inject-launch-secret": {"packet-header", "secret"},
	"qom-set":                  {"value"},
	"ringbuf-write":            {"data"},
	"client_migrate_info":      {"cert-subject"},
}

// blank returns a request with its secrets replaced, as it can be written down. What can't
// be understood is left out as a whole.
func blank(request []byte) []byte {
	var r struct {
		Execute string         `json:"execute"`
		OOB     string         `json:"exec-oob"`
		Args    map[string]any `json:"arguments"`
		ID      any            `json:"id"`
	}
	dec := json.NewDecoder(bytes.NewReader(request))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil {
		return []byte("(not a request)")
	}
	if !hideIn(r.Execute+r.OOB, r.Args) {
		return request
	}
	out := map[string]any{"arguments": r.Args}
	for key, value := range map[string]any{"execute": r.Execute, "exec-oob": r.OOB, "id": r.ID} {
		if value != nil && value != "" {
			out[key] = value
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return []byte("(not a request)")
	}
	return data
}

// blankReply returns a reply as it can be written down. qom-get tells the data of secret
// objects to who asks.
func blankReply(command string, reply []byte) []byte {
	var r struct {
		Return json.RawMessage `json:"return"`
	}
	switch command {
	case "qom-get", "qom-list-get":
		if json.Unmarshal(reply, &r) == nil && len(r.Return) > 0 && (r.Return[0] == '"' || r.Return[0] == '[') {
			return []byte(`{"return": "` + blanked + `"}`)
		}
	}
	return reply
}

// hideIn replaces the secrets of a command's arguments and reports whether there were any.
func hideIn(command string, args map[string]any) (found bool) {
	for _, name := range secretArguments[command] {
		if _, ok := args[name]; ok {
			args[name], found = blanked, true
		}
	}
	return hideAnywhere(args) || found
}

// hideAnywhere looks for what is a secret in any command, at any depth: passwords, and
// the data of secret objects (object-add, blockdev-add with a password, ...).
func hideAnywhere(v any) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		qomType, _ := v["qom-type"].(string)
		for key, value := range v {
			text, isText := value.(string)
			switch {
			case isText && (isPassword(key) || hasPassword(text) || key == "data" && strings.HasPrefix(qomType, "secret")):
				v[key], found = blanked, true
			case hideAnywhere(value):
				found = true
			}
		}
	case []any:
		for _, value := range v {
			found = hideAnywhere(value) || found
		}
	}
	return found
}

// hasPassword knows URLs with a password, and json: file names, which may hold anything.
func hasPassword(text string) bool {
	if strings.HasPrefix(text, "json:") {
		return true
	}
	_, rest, ok := strings.Cut(text, "://")
	user, _, found := strings.Cut(rest, "@")
	return ok && found && strings.Contains(user, ":") && !strings.Contains(user, "/")
}

// isPassword knows the names of members that hold a secret itself. Those that end in
// -secret hold the id of a secret object (password-secret, key-secret), which is none.
func isPassword(key string) bool {
	switch key {
	case "password", "passwd", "passphrase", "secret", "token", "cookie":
		return true
	}
	return false
}
