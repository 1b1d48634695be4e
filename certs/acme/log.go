package acme

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap/zapcore"
)

// details is the library's own log, which goes to a [slog.Logger] at level debug: the package says
// itself what operators have to know.
type details struct {
	log    *slog.Logger
	fields []zapcore.Field
}

var _ zapcore.Core = details{}

// Enabled reports whether anybody reads it.
func (d details) Enabled(zapcore.Level) bool {
	return d.log.Enabled(context.Background(), slog.LevelDebug)
}

// With returns a log whose lines have fields.
func (d details) With(fields []zapcore.Field) zapcore.Core {
	d.fields = append(d.fields[:len(d.fields):len(d.fields)], fields...)
	return d
}

// Check adds the log to those that entry is written to.
func (d details) Check(entry zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if d.Enabled(entry.Level) {
		return to.AddCore(entry, d)
	}
	return to
}

// Write logs entry.
func (d details) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(d.fields[:len(d.fields):len(d.fields)], fields...) {
		f.AddTo(enc)
	}
	attrs := []any{"severity", entry.Level.String(), "part", entry.LoggerName}
	for _, key := range slices.Sorted(maps.Keys(enc.Fields)) {
		attrs = append(attrs, key, enc.Fields[key])
	}
	d.log.Debug("acme: "+entry.Message, attrs...)
	return nil
}

// Sync does nothing.
func (d details) Sync() error { return nil }
