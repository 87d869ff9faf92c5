// The service `{{name}}`: returns the request's body in capitals.
export const handler = {
  handle(request) {
    if (request.body.every((frame) => frame.length === 0)) {
      throw { tag: "rejected", val: "send some text" };
    }
    return request.body.map((frame) => frame.map((byte) => (byte >= 97 && byte <= 122 ? byte - 32 : byte)));
  },
};
