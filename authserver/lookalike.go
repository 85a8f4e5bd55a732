package authserver

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Names that are made to be taken for others (SEC-16, SEC-32). Nothing is
// refused for its name: the consent page says what is odd about it.

// lookalikes are letters of other alphabets that many typefaces draw like
// Latin ones (of Unicode's confusables.txt, those of alphabets that people type).
var lookalikes = func() map[rune]rune {
	m := map[rune]rune{}
	for _, alphabet := range [][2]string{
		{"АВЕЅІЈКМНОРСТУХԌԚԜѴҮӀаеѕіјоркмнтсухһԁԛԝѵӏгв", "ABESIJKMHOPCTYXGQWVYIaesijopkmntcyxhdqwvlrb"}, // Cyrillic
		{"ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαβεηικνορτυχωϲϹ", "ABEZHIKMNOPTYXabenikvoptuxwcC"},                             // Greek
		{"ՕՍԼօսհոցզյ", "OULouhngqj"},                                     // Armenian
		{"ᎪᏴᏟᎠᎬᏀᎻᏆᎫᏦᏞᎷᏢᎡᏚᎢᏙᏔᏃ", "ABCDEGHIJKLMPRSTVWZ"},                   // Cherokee
		{"ıɩɑɡłøđħƚʟɪɴᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꜱǀ", "iiaglodhllinacdejkmoptuvwzsl"}, // Latin of other languages, and small capitals
	} {
		to := []rune(alphabet[1])
		for i, r := range []rune(alphabet[0]) {
			m[r] = to[i]
		}
	}
	return m
}()

// skeleton is a name as it looks at a glance: two names with one skeleton can
// be taken for each other. Words are kept apart by one space.
func skeleton(name string) string {
	var b strings.Builder
	space := false
	latin := func(r rune) rune {
		if to, ok := lookalikes[r]; ok {
			return to
		}
		return r
	}
	for _, r := range norm.NFKD.String(strings.Map(latin, name)) {
		if unicode.Is(unicode.Mn, r) {
			continue // an accent, of what is left without it
		}
		switch r = unicode.ToLower(latin(r)); r {
		case 'i', '1', '|', '!':
			r = 'l'
		case '0':
			r = 'o'
		case '5', '$':
			r = 's'
		case '3':
			r = 'e'
		case '4', '@':
			r = 'a'
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			space = b.Len() > 0
			continue
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return strings.NewReplacer("rn", "m", "vv", "w").Replace(b.String())
}

// looksLike is the known client whose name another one could be taken for: one
// of its words, or the beginning of it with the spaces left out.
func looksLike(name string) (knownEntry, bool) {
	words := strings.Fields(skeleton(name))
	together := strings.Join(words, "")
	for _, k := range slices.Backward(known) { // Claude Code before Claude
		for _, title := range append([]string{k.Title}, k.ClientNames...) {
			t := strings.ReplaceAll(skeleton(title), " ", "")
			if strings.HasPrefix(together, t) || slices.Contains(words, t) {
				return k, true
			}
		}
	}
	return knownEntry{}, false
}

// latinLike are the alphabets whose letters look like Latin ones.
var latinLike = []*unicode.RangeTable{unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu}

// mixesAlphabets reports whether one word has letters of several alphabets that
// look alike.
func mixesAlphabets(name string) bool {
	for word := range strings.FieldsSeq(name) {
		seen := map[*unicode.RangeTable]bool{}
		for _, r := range word {
			for _, t := range append(latinLike, unicode.Latin) {
				if unicode.Is(t, r) && unicode.IsLetter(r) {
					seen[t] = true
				}
			}
		}
		if len(seen) > 1 {
			return true
		}
	}
	return false
}

// oddName says what is odd about the name of a client that nobody knows.
func oddName(name, host string) []string {
	var out []string
	if k, ok := looksLike(name); ok {
		out = append(out, "This is not known to be "+k.Title+", whatever its name says: its access goes to "+host+". Go on only if you know why.")
	}
	if mixesAlphabets(name) {
		out = append(out, "Its name mixes letters of several alphabets that look alike. Such names are made to be taken for others.")
	}
	return out
}
