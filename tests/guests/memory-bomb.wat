  ;; Grows its memory until growth is denied, and then traps, as a language's allocator would.
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)
