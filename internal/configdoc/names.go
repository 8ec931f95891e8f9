package configdoc

import (
	"maps"
	"strings"
	"unicode"
)

// nameKeys writes keys where comments have the Go names of fields: "Path or Base" in a Disk's
// comments is `path` or `base`, and "Disk.Keep" anywhere is `disks[].keep`.
func (r *describer) nameKeys() {
	everywhere := map[string]string{}
	for _, s := range r.sections {
		for i, k := range s.Keys {
			everywhere[s.Type.Name()+"."+s.Type.Field(i).Name] = k.Place
		}
	}
	for i := range r.sections {
		s := &r.sections[i]
		own := map[string]string{}
		for j, k := range s.Keys {
			own[s.Type.Field(j).Name] = k.Name
		}
		s.Comment = keyed(s.Comment, others(own, s.Type.Name()), everywhere)
		for j := range s.Keys {
			k := &s.Keys[j]
			k.Comment = keyed(k.Comment, others(own, s.Type.Field(j).Name), everywhere)
			if rest, ok := strings.CutPrefix(k.Comment, s.Type.Field(j).Name+" "); ok && element(k.Type).Name() != s.Type.Field(j).Name {
				k.Comment = "`" + k.Name + "` " + rest
			}
			if !k.Needed {
				k.Default = keyed(k.Default, own, everywhere)
			}
		}
	}
}

// others leaves out one name: what "Serial is" speaks of is above or beside it already, and
// in the middle of a sentence it is a plain word.
func others(own map[string]string, name string) map[string]string {
	out := maps.Clone(own)
	delete(out, name)
	return out
}

// keyed replaces words that are names of fields. A word is letters, digits and inner dots.
func keyed(text string, own, everywhere map[string]string) string {
	text = strings.NewReplacer("[Ephemeral]", "ephemeral", "[Persistent]", "persistent", "[Filter]", "vm.Filter").Replace(text)
	var b strings.Builder
	quoted := false
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' })
		if end < 0 {
			end = len(text)
		}
		if end == 0 {
			quoted = quoted != (text[0] == '"')
			b.WriteByte(text[0])
			text = text[1:]
			continue
		}
		word := strings.TrimRight(text[:end], ".")
		key, ok := everywhere[word]
		if !ok {
			key, ok = own[word]
		}
		if ok && !quoted {
			b.WriteString("`" + key + "`")
		} else {
			b.WriteString(word)
		}
		b.WriteString(text[len(word):end])
		text = text[end:]
	}
	return b.String()
}
