package layered

import (
	"strconv"
	"strings"
)

// trail is the way from the root to the node that is looked at. Only problems need its
// text, so that it is put together when there is one.
type trail []step

// step is how a trail goes on: to a key, to a key that is the user's own, or to an item.
type step struct {
	to    byte // '.', '{' or '['
	key   string
	index int
}

func (t *trail) key(key string) { *t = append(*t, step{to: '.', key: key}) }

func (t *trail) own(key string) { *t = append(*t, step{to: '{', key: key}) }

func (t *trail) item(index int) { *t = append(*t, step{to: '[', index: index}) }

// back takes the last step back.
func (t *trail) back() { *t = (*t)[:len(*t)-1] }

// field is the name of the place in messages: "disks[0].path", "labels[a]".
func (t trail) field() string {
	var b strings.Builder
	for _, s := range t {
		switch s.to {
		case '.':
			dot(&b, s.key)
		case '{':
			b.WriteString("[" + s.key + "]")
		default:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		}
	}
	return b.String()
}

// place is the name that Rules have for it: "disks[].path", "labels{}".
func (t trail) place() string {
	var b strings.Builder
	for _, s := range t {
		switch s.to {
		case '.':
			dot(&b, s.key)
		case '{':
			b.WriteString("{}")
		default:
			b.WriteString("[]")
		}
	}
	return b.String()
}

func dot(b *strings.Builder, key string) {
	if b.Len() > 0 {
		b.WriteByte('.')
	}
	b.WriteString(key)
}
