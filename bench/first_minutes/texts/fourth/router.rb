module Clinic
  MAX_WAIT = 45
  class Router
    TIMEOUT_MS = 2_500
    def self.dispatch(request)
      request
    end
    def refuse?(patient)
      false
    end
  end
end
