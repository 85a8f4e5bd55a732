package doorward_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guideImports are what the Go of the guides may use, by the name it goes by.
var guideImports = map[string]string{
	"context": "context", "http": "net/http", "log": "log", "os": "os", "oauth2": "golang.org/x/oauth2",
	"testing": "testing", "authtest": "doorward/authtest",
	"mcp": "github.com/modelcontextprotocol/go-sdk/mcp", "doorward": "doorward",
}

// The Go of the guides for users of other clients, and of the page about the zoo,
// is what compiles today.
func TestGuidesCompile(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```")
	dir, replace := t.TempDir(), map[string]string{}
	for _, guide := range []string{"guide-crossappaccessprovider", "guide-identityassertiongrantprovider", "guide-enterprisehandler", "clients"} {
		text, err := os.ReadFile(filepath.Join("docs", guide+".md"))
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllSubmatch(text, -1)
		if len(blocks) == 0 {
			t.Errorf("%s: no Go", guide)
		}
		for i, b := range blocks {
			var file strings.Builder
			file.WriteString("package guides\n\n")
			for _, name := range slices.Sorted(maps.Keys(guideImports)) {
				if regexp.MustCompile(`\b` + name + `\.[A-Z]`).Match(b[1]) {
					fmt.Fprintf(&file, "import %s %q\n", name, guideImports[name])
				}
			}
			file.Write(b[1])
			name := fmt.Sprintf("%s_%d.go", guide, i)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(file.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			replace[filepath.Join(root, "internal", "guides", name)] = filepath.Join(dir, name) // where there is nothing
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", file, "./internal/guides")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the binary is built, so that it is compiled once
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
