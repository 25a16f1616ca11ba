package image_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
)

// fill sets every field that v reaches to a value that no other has, and every
// list to two elements.
func fill(v reflect.Value, n *uint64) {
	switch v.Kind() {
	case reflect.Struct:
		for i := 0; i < v.NumField(); i++ {
			fill(v.Field(i), n)
		}
	case reflect.Array:
		for i := 0; i < v.Len(); i++ {
			fill(v.Index(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := 0; i < v.Len(); i++ {
			fill(v.Index(i), n)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		*n++
		v.SetString(fmt.Sprint("string ", *n))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		*n++
		v.SetInt(-int64(*n))
	default:
		*n++
		v.SetUint(*n)
	}
	if v.IsZero() {
		panic("fill left a zero")
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, r := range image.Samples() {
		t.Run(image.TagOf(r).String(), func(t *testing.T) {
			n := uint64(0)
			fill(reflect.ValueOf(r).Elem(), &n)
			require.Less(t, n, uint64(200), "values fit in a byte, and so do not repeat")
			payload, err := image.Encode(r)
			require.NoError(t, err)
			got := reflect.New(reflect.TypeOf(r).Elem())
			back := got.Interface().(image.Record)
			rest, err := image.Decode(back, payload)
			require.NoError(t, err)
			require.Zero(t, rest)
			require.Equal(t, r, back)
		})
	}
}

func TestRecordCut(t *testing.T) {
	for _, r := range image.Samples() {
		t.Run(image.TagOf(r).String(), func(t *testing.T) {
			n := uint64(0)
			fill(reflect.ValueOf(r).Elem(), &n)
			payload, err := image.Encode(r)
			require.NoError(t, err)
			for i := range payload {
				back := reflect.New(reflect.TypeOf(r).Elem()).Interface().(image.Record)
				_, err := image.Decode(back, payload[:i])
				require.Error(t, err, "%d of %d bytes", i, len(payload))
			}
		})
	}
}
