// The service `compter` (French: to count) in JavaScript: counts the lines, words and bytes of a body.
//
//     npm install @bytecodealliance/jco@1.34.0 @bytecodealliance/componentize-js@0.23.0
//     npx jco componentize examples/compter/compter.js --wit wit --world-name service \
//         --disable http --disable fetch-event --out compter.wasm
//     wasmnode deploy compter.wasm        # and `reuse = 100` in [service.compter]: creating an instance is slow

export const handler = {
  handle(request) {
    const text = new Uint8Array(request.body.reduce((bytes, frame) => bytes + frame.length, 0));
    let at = 0;
    for (const frame of request.body) {
      text.set(frame, at);
      at += frame.length;
    }
    let [lines, words, inWord] = [0, 0, false];
    for (const byte of text) {
      const isSpace = byte === 32 || (byte >= 9 && byte <= 13 && byte !== 11);
      lines += byte === 10;
      words += !isSpace && !inWord;
      inWord = !isSpace;
    }
    return [new TextEncoder().encode(`${lines} ${words} ${text.length}\n`)];
  },
};
