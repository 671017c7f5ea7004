// Buffer methods that Node has had since version 0.x and that its types leave out.
// They skip the encoding look-up of toString()/write(), which shows on the hot path.

export {}

declare global {
  interface Buffer<TArrayBuffer extends ArrayBufferLike = ArrayBufferLike> {
    latin1Slice(start?: number, end?: number): string
    latin1Write(text: string, offset?: number, length?: number): number
    utf8Slice(start?: number, end?: number): string
    utf8Write(text: string, offset?: number, length?: number): number
  }
}
