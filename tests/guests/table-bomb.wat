  ;; Grows a table until growth is denied, and then traps.
  (table $functions 1 funcref)
  (func (export "wasmnode:service/handler@0.1.0#handle") (type $handle)
    (loop $more
      (br_if $more (i32.ne (table.grow $functions (ref.null func) (i32.const 1000)) (i32.const -1))))
    unreachable)
