package audit

import (
	"context"
	"log/slog"
)

// Slog is a sink that writes one line per event to a log, at level INFO if the
// outcome is ok and WARN otherwise. Empty fields are left out.
func Slog(l *slog.Logger) Sink { return logSink{l} }

type logSink struct{ log *slog.Logger }

func (s logSink) Write(ctx context.Context, events []Event) error {
	for _, e := range events {
		level := slog.LevelInfo
		if e.Outcome != "ok" {
			level = slog.LevelWarn
		}
		s.log.LogAttrs(ctx, level, "audit", attrs(e)...)
	}
	return nil
}

func attrs(e Event) []slog.Attr {
	out := []slog.Attr{slog.Time("at", e.Time), slog.String("action", e.Action), slog.String("outcome", e.Outcome)}
	for _, f := range [][2]string{
		{"reason", e.Reason}, {"rule", e.Rule}, {"person", e.Person}, {"client", e.Client},
		{"resource", e.Resource}, {"tool", e.Tool}, {"scope", e.Scope}, {"grant", e.Grant},
		{"issuer", e.Issuer}, {"jti", e.JTI}, {"grant_type", e.GrantType},
		{"address", e.Address}, {"detail", e.Detail}, {"ref", e.Ref},
	} {
		if f[1] != "" {
			out = append(out, slog.String(f[0], f[1]))
		}
	}
	return out
}
